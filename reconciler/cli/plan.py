"""`chiltepin plan`: show what apply would do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import options as o
from reconciler.errors import ExitCode, StateFileError, UsageError

if TYPE_CHECKING:
    from reconciler.cli.console import Console
    from reconciler.core.desired import Desired
    from reconciler.invocation import Invocation
    from reconciler.reconcile import Request, Sight
    from reconciler.wiring import Wired

EPILOG = o.examples(
    """
      chiltepin plan
      chiltepin plan --detailed-exitcode  exits 2 when something would change
      chiltepin plan --format json        for scripts
      chiltepin plan --out plan.json      to apply just this, after a review
      chiltepin plan --against lock       without a host or a login: pull requests
    """
)

OutOption = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Keep the plan, for `chiltepin apply FILE`.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option("--against", metavar="lock", help="Compare with the lock alone: needs no host and no login."),
]


def plan(
    file: o.FileOption = o.DEFAULT_FILE,
    config_dir: o.ConfigDirOption = None,
    host: o.HostOption = None,
    var: o.VarOption = None,
    lock: o.LockOption = None,
    target: o.TargetOption = None,
    exclude: o.ExcludeOption = None,
    new: o.NewOption = None,
    reregister: o.ReregisterOption = None,
    take_over: o.TakeOverOption = False,
    retry: o.RetryOption = False,
    destroy: Annotated[bool, typer.Option("--destroy", help="Plan what `destroy` would do.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="With --destroy: what `destroy --purge` would do.")] = False,
    detailed: Annotated[bool, typer.Option("--detailed-exitcode", help="Exit 2 when there are changes.")] = False,
    out: OutOption = None,
    against: AgainstOption = None,
    output: o.ReportFormatOption = "text",
    allow_outside: o.OutsideOption = False,
    color: o.ColorOption = "auto",
    quiet: o.PlanQuietOption = False,
    verbose: o.VerboseOption = False,
) -> int:
    """Show what differs, and what apply would do about it. Changes nothing."""
    from reconciler.cli.console import Console, check_format, print_warnings
    from reconciler.invocation import Invocation
    from reconciler.wiring import open_request, wire

    console = Console(color, quiet=quiet, verbose=verbose)
    check_format(output, o.REPORT_FORMATS)
    invocation = Invocation(file, config_dir, host, tuple(var or ()), lock, allow_outside)
    _check_options(out, against, destroy=destroy, purge=purge)
    if against is not None:
        _check_against(
            ("--target", target),
            ("--exclude", exclude),
            ("--new", new),
            ("--reregister", reregister),
            ("--take-over", take_over),
            ("--retry", retry),
            ("--destroy", destroy),
            ("--purge", purge),
        )
        return int(_against(console, against, invocation, output, detailed=detailed))
    wired = wire(invocation)
    print_warnings(console, wired.desired)
    request = open_request(
        wired,
        target,
        exclude,
        new,
        destroy=destroy,
        purge=purge,
        reregister=reregister,
        take_over=take_over,
        retry=retry,
    )
    return int(_show(console, wired, request, out, output, detailed=detailed))


def _show(
    console: Console, wired: Wired, request: Request, out: Path | None, output: str, *, detailed: bool
) -> ExitCode:
    """Observe, print the plan, and keep it if that is asked for; return what it means."""
    from reconciler.cli.common import print_plan
    from reconciler.core.consent import consent_options
    from reconciler.core.exit_codes import exit_code_of_plan
    from reconciler.reconcile import make_sight

    sight = make_sight(wired.outside, request)
    print_plan(console, sight, output)
    if out is not None:
        _keep(console, out, sight, request, wired.invocation)
    elif output == "text" and not sight.plan.is_destroy and (options := consent_options(sight.plan)):
        console.say(f"its deletes need consent: apply it with {' '.join(options)}")
    code = exit_code_of_plan(sight.plan)
    return ExitCode.CHANGES if code is ExitCode.OK and detailed and not sight.plan.is_empty else code


def _against(console: Console, what: str, invocation: Invocation, output: str, *, detailed: bool) -> ExitCode:
    from reconciler.adapters.store import FileStore
    from reconciler.cli.console import print_warnings
    from reconciler.core.against_lock import compare_with_lock, comparison_lines
    from reconciler.core.lock import read_lock
    from reconciler.core.outputs import against_lock_output, to_json
    from reconciler.invocation import read_views

    if what != "lock":
        raise UsageError(f"--against {what}: not known", remedy="use --against lock")
    views = read_views(invocation)
    print_warnings(console, views[0])
    lock_path = invocation.lock_path.absolute()
    text = FileStore(str(lock_path.parent), str(lock_path), str(invocation.pools_path.absolute())).read_lock()
    changes = compare_with_lock(views, read_lock(text, str(invocation.lock_path)) if text is not None else None)
    if output == "json":
        console.result(to_json(against_lock_output(views[0].stack, changes)))
    elif output == "markdown":
        console.markdown("chiltepin plan", comparison_lines(changes, stack=views[0].stack))
    elif changes or not console.quiet:
        console.lines(comparison_lines(changes, stack=views[0].stack))
    return ExitCode.CHANGES if changes and detailed else ExitCode.OK


def _check_options(out: Path | None, against: str | None, *, destroy: bool, purge: bool) -> None:
    """Refuse what cannot be meant, before anything is looked at."""
    if out is not None:
        _check_out(out, against)
    if purge and not destroy and against is None:
        raise UsageError("--purge goes with --destroy", remedy="`chiltepin purge NAME` empties the trash")


def _check_against(*options: tuple[str, object]) -> None:
    """Refuse what asks for more than a comparison of manifest and lock."""
    for option, value in options:
        if value:
            raise UsageError(f"{option} does not go with --against: the lock is compared as a whole")


def _check_out(out: Path, against: str | None) -> None:
    """Refuse to keep a plan over anything but an older plan: a slip of the hand must not cost a manifest."""
    from reconciler.adapters.store import read_text
    from reconciler.core.saved_plan import is_saved_plan
    from reconciler.paths import check_plain_file

    if against is not None:
        raise UsageError("--out does not go with --against: what the lock alone shows cannot be applied")
    if str(out) == "-":
        raise UsageError("--out needs a file", remedy="`--format json` prints the plan")
    check_plain_file(out, "name a file for the plan; `--format json` prints it")
    try:
        there = read_text(out, "plan")
    except StateFileError:
        there = ""
    if there is not None and not is_saved_plan(there):
        raise UsageError("this file is there, and is no kept plan", where=str(out), remedy="choose another name")


def _keep(console: Console, out: Path, sight: Sight, request: Request, invocation: Invocation) -> None:
    import secrets

    from reconciler.adapters.store import write_private_text
    from reconciler.core.consent import Consent, consent_options, consented, remedy_for_refused
    from reconciler.core.outputs import to_json
    from reconciler.core.saved_plan import save_plan

    plan = sight.plan
    saved = save_plan(plan, request.scope, request.new, secrets.token_hex(16))
    write_private_text(out, to_json(saved) + "\n", "plan")
    # What is left although all deletes are agreed to: no option does it.
    held = consented(plan, Consent(deletes=True, max_deletes=plan.delete_count)).left
    words = ["chiltepin", "apply", *_given(invocation, request.desired), str(out), *consent_options(plan)]
    console.say(f"kept in {out}; to do just this: {shlex.join(words)}")
    if held:
        console.say(f"without its {held}")
        console.say(f"  next: {remedy_for_refused(plan, is_kept=True)}")


def _given(invocation: Invocation, desired: Desired) -> Iterator[str]:
    """Yield the options of this command that an apply of the kept plan needs as well; of a secret only the name."""
    from reconciler.core.redact import redact

    hidden = {v for e in desired.endpoints.values() for name, v in e.user_environment.items() if name in e.sensitive}
    hidden |= desired.secrets
    shared = (
        ("-f", invocation.file if invocation.file != o.DEFAULT_FILE else None),
        ("-c", invocation.config_dir),
        ("--host", invocation.host),
        ("--lock", invocation.lock),
    )
    for option, value in shared:
        if value is not None:
            yield from (option, str(value))
    for variable in invocation.variables:
        name, _, value = variable.partition("=")
        is_secret = name in desired.secret_variables or value in hidden or redact(value, hidden) != value
        yield from ("--var", f"{name}=VALUE" if is_secret else variable)
    if invocation.allow_outside:
        yield "--allow-outside"

"""Templates, schemas and identity mappings: found, contained, and checked before anything is written."""

import pytest

from reconciler.core.desired import TextFile
from reconciler.core.manifest.named_files import Fault, NamedFiles, outside
from reconciler.errors import FileSystemError
from tests.core.manifest.manifests import OLD_TEMPLATE, TEMPLATE, context, desired, problems


def files(**stored: bytes) -> NamedFiles:
    made = context({name.replace("__", "/").replace("_", "."): data for name, data in stored.items()})
    return NamedFiles(made.read_file, made.templates, made.schemas)


def test_built_in_documents_carry_their_version() -> None:
    assert files().get("template", "builtin") == TEMPLATE
    assert files().get("template", "builtin@1") == OLD_TEMPLATE
    assert files().get("schema", "builtin@7") == Fault(
        "there is no schema `builtin@7`", "available: builtin, builtin@1, builtin@2"
    )


def test_a_file_is_taken_literally() -> None:
    text = "a: {{ account }} {% if x %}{% endif %}\n"
    assert files(t_j2=text.encode()).get("template", "t.j2") == TextFile("t.j2", text)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("template", b"a\n{% if x %}\n", "x.f:2: not a valid Jinja template: Unexpected end of template"),
        ("template", b"a\nb: {{ x | }}\n", "x.f:2: not a valid Jinja template"),
        ("template", b"echo ${#a[@]}\n", "x.f:1: not a valid Jinja template: Missing end of comment tag"),
        ("template", b"a\n\xff", "x.f:2: byte 0xff is not UTF-8"),
        ("template", b"x" * 1_000_001, "the template `x.f` has 1,000,001 bytes; the limit is 1,000,000"),
        ("schema", b'{"type": "object"\n"x": 1}', "x.f:2:1: not valid JSON: "),
        ("schema", b"[]", "x.f: a JSON Schema is an object"),
        ("schema", b'{"type": "objekt"}', "x.f: not a valid JSON Schema: $.type: 'objekt' is not valid"),
        ("schema", b"[" * 100_000, "x.f: not valid JSON: nested too deeply"),
        ("identity_mapping", b"x", "x.f:1:1: not valid JSON: Expecting value"),
    ],
)
def test_files_that_would_fail_later(kind: str, data: bytes, message: str) -> None:
    fault = files(x_f=data).get(kind, "x.f")  # type: ignore[arg-type]
    assert isinstance(fault, Fault)
    assert message in fault.message


def test_the_hint_for_a_shells_length_expansion() -> None:
    fault = files(x_f=b"echo ${#a[@]}\n").get("template", "x.f")
    assert isinstance(fault, Fault)
    assert fault.hint == "`{#` begins a comment in Jinja; write `{{ '{#' }}` for the shell's `${#`"


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/passwd", "~/x", "a/b/../../../x"])
def test_paths_that_leave_the_directory_are_refused_unread(path: str) -> None:
    assert outside(path)
    fault = files().get("template", path)
    assert isinstance(fault, Fault)
    assert fault.hint == "keep it beside the manifest, or pass --allow-outside"


@pytest.mark.parametrize("path", ["x", "a/b", "./x", "a/../x", "a//b", "..x", "a..b/c"])
def test_paths_inside(path: str) -> None:
    assert outside(path) is None


def test_a_file_is_read_once() -> None:
    reads: list[str] = []

    def read_file(path: str) -> bytes:
        reads.append(path)
        raise FileSystemError("permission denied", where=path)

    named = NamedFiles(read_file, {}, {}, allow_outside=True)
    assert named.get("template", "../t") == named.get("template", "../t")
    assert reads == ["../t"]


def test_problems_stand_at_the_key_of_the_manifest() -> None:
    body = "defaults: {endpoint: {template: gone.j2}}\nendpoints:\n  a:\n  b: {schema: s.json, template: ../x}\n"
    assert problems(body, files={"s.json": "{"}) == [
        "1:33: error: the template `gone.j2` cannot be read: no such file",
        "4:15: error: s.json:1:2: not valid JSON: Expecting property name enclosed in double quotes",
        (
            "4:33: error: the template's path leaves the manifest's directory by `..`; "
            "keep it beside the manifest, or pass --allow-outside"
        ),
    ]


def test_files_of_an_endpoint() -> None:
    stored = {"t.j2": "a: {{ x }}", "s.json": "{}", "m.json": "[]"}
    body = "endpoints:\n  a: {template: t.j2, schema: s.json, identity_mapping: m.json}\n  b: {template: builtin@1}\n"
    body += "  c: {schema: none}\n"
    endpoints = desired(body, files=stored).endpoints
    assert endpoints["a"].template == TextFile("t.j2", "a: {{ x }}")
    assert endpoints["a"].schema == TextFile("s.json", "{}")
    assert endpoints["a"].identity_mapping == TextFile("m.json", "[]")
    assert endpoints["b"].template.label == "builtin@1"
    assert endpoints["b"].schema is not None
    assert endpoints["b"].schema.label == "builtin@1"
    assert endpoints["c"].schema is None
    assert endpoints["c"].template.label == "builtin@2"


def test_pools_are_checked_against_an_endpoints_own_schema() -> None:
    schema = '{"properties": {"nodes_per_block": {"maximum": 2}}}'
    body = "endpoints: {e: {schema: s.json}}\npools:\n  ok: {endpoint: e}\n"
    body += "  big: {endpoint: e, nodes_per_block: 3, mpi: true}\n"
    assert [line for line in problems(body, files={"s.json": schema}) if "error" in line] == [
        "4:3: error: `e`'s schema s.json refuses this pool: nodes_per_block: 3 is greater than the maximum of 2"
    ]

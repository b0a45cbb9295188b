"""What a daemon is busy with at one moment, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterator

from reconciler.core.frozen import dataclass


@dataclass(frozen=True)
class Work:
    """What stopping a daemon would end.

    Attributes:
        user_endpoints: how many are alive below it.
        tasks: how many the service knows to be outstanding in them.
        jobs: IDs of their batch jobs, running or waiting.
        uncounted: why something could not be counted, in words for the user.
    """

    user_endpoints: int = 0
    tasks: int = 0
    jobs: tuple[str, ...] = ()
    uncounted: tuple[str, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether it is certain that nothing would be lost."""
        return not (self.user_endpoints or self.tasks or self.jobs or self.uncounted)

    def why_busy(self) -> str:
        """Return why it counts as busy, for a deferral."""
        return ", ".join(self._reasons())

    def _reasons(self) -> Iterator[str]:
        if self.user_endpoints:
            alive = counted(self.user_endpoints, "user endpoint")
            may = "" if self.tasks else ", and tasks may be running"
            yield f"{alive} {'is' if self.user_endpoints == 1 else 'are'} alive below it{may}"
        if self.tasks:
            yield f"{counted(self.tasks, 'task')} {'is' if self.tasks == 1 else 'are'} outstanding"
        if self.jobs:
            jobs = counted(len(self.jobs), "batch job")
            yield f"{jobs} {'is' if len(self.jobs) == 1 else 'are'} in the queue ({', '.join(self.jobs)})"
        yield from self.uncounted

    def waited_for(self) -> str:
        """Return what a drain waits for, in a few words."""
        if self.tasks:
            return counted(self.tasks, "task")
        if self.user_endpoints:
            return counted(self.user_endpoints, "user endpoint")
        if self.jobs:
            return counted(len(self.jobs), "batch job")
        return self.uncounted[0] if self.uncounted else "nothing"

    def holds(self) -> str:
        """Return what there is, for a plan that waits."""
        parts = [f"{counted(self.user_endpoints, 'user endpoint')} alive below it"] if self.user_endpoints else []
        parts += [f"{counted(self.tasks, 'task')} outstanding"] if self.tasks else []
        parts += [f"{counted(len(self.jobs), 'batch job')} ({', '.join(self.jobs)})"] if self.jobs else []
        return ", ".join([*parts, *self.uncounted])

    def losses(self) -> str:
        """Return what is ended, for a plan that does not wait; whoever reads it decides by it."""
        parts = [counted(self.user_endpoints, "user endpoint")] if self.user_endpoints else []
        if self.tasks:
            parts.append(f"{counted(self.tasks, 'task')} (as last reported)")
        elif self.user_endpoints:
            parts.append("any task of it" if self.user_endpoints == 1 else "any task of them")
        if self.jobs:
            parts.append(f"{counted(len(self.jobs), 'batch job')} ({', '.join(self.jobs)})")
        said = " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
        return "; ".join([*([said] if said else []), *self.uncounted])


def counted(count: int, noun: str) -> str:
    """Return e.g. `1 task` or `3 tasks`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

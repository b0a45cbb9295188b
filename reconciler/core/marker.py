"""The marker: `.chiltepin.json` in each managed endpoint directory, our memory of what we did there."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from reconciler.core.names import usual_form

MARKER = ".chiltepin.json"
FORMAT_VERSION = 1
_Uuid = Annotated[str, AfterValidator(usual_form)]
"""A UUID that is compared with others, however somebody wrote it."""


class Document(BaseModel):
    """Base of the documents that we write and read back; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Claim(Document):
    """Where and by whom an endpoint is kept: service, identity, host, directory.

    `host` is the manifest's name of the host, null without a `hosts` section (login nodes of one home
    differ in name). `config_dir` is written with `~` when it lies in the user's home.
    """

    service: str
    identity: _Uuid | None
    user: str
    host: str | None
    config_dir: str
    directory: str


class FileRecord(Document):
    """What we last wrote to one file.

    Attributes:
        digest: SHA-256 (hex) of the file's bytes as we wrote them.
        spec: SHA-256 (hex) of what the manifest asked for at that time; empty for a file that was adopted as it was.
        keys: key paths in a YAML file that the manifest set, each a list of keys; empty for whole-text files.
        sensitive: names of its top-level keys whose values must never be shown.
    """

    digest: str
    spec: str
    keys: tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...] = ()
    sensitive: tuple[str, ...] = ()


class DaemonRecord(Document):
    """The daemon as we started it.

    Attributes:
        host: name of the node.
        boot_id: the kernel's boot id, so that a PID from before a reboot is never trusted.
        namespace: the PID namespace in which it has that process ID; None when first versions recorded it.
        pid: its process ID.
        start_time: clock ticks from boot to its start (field 22 of /proc/PID/stat).
        prefix: sys.prefix of the Python that runs it.
        versions: of globus-compute-endpoint, Python, parsl.
        config: digest of config.yaml when it started.
        environment: by name, digests of the variables that it was given and that make it what it is; none when unknown.
        started: when it was started, in seconds since the epoch by that node's clock: for people to read.
        documents: digests of template, schema and user environment when it registered (its copy at the service).
        ended: when it was found to have ended, in seconds from the boot of `boot_id`; None while nobody has.
    """

    host: str
    boot_id: str
    pid: int
    start_time: int
    prefix: str
    versions: dict[str, str]
    config: str
    environment: dict[str, str] = Field(default_factory=dict)
    started: float | None = None
    documents: dict[str, str] = Field(default_factory=dict)
    namespace: str | None = None
    ended: float | None = None

    @field_validator("environment", mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        """Read one digest of everything, as first versions wrote it: it does not say what a variable was."""
        return {} if isinstance(value, str) else value

    @field_validator("ended", mode="before")
    @classmethod
    def _when(cls, value: Any) -> Any:
        """Read whether it had, as first versions wrote it: then it was long ago."""
        return (0.0 if value else None) if isinstance(value, bool) else value


class Death(Document):
    """The end of a daemon that nothing explains: when, by the file server's clock, and its PID."""

    at: float
    pid: int


class Marker(Document):
    """The whole marker file. Holds no secret.

    `protect` and `restart` are as last declared: they stay in force after the endpoint's block is gone.

    Attributes:
        path: the PATH that `user_environment: {PATH: auto}` stands for, with the tool's directory in front.
        environment: variables that daemons are given besides those set where they are started; PATH is the
            login shell's. None of them can hold a secret.
        deaths: the last ones that nothing explains, in the order in which they were noticed.
    """

    format_version: int = FORMAT_VERSION
    stack: str
    lineage: str
    endpoint: str
    id: _Uuid | None = None
    claim: Claim
    protect: bool = False
    restart: str = "when-idle"
    files: dict[str, FileRecord] = Field(default_factory=dict)
    path: str | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    daemon: DaemonRecord | None = None
    deaths: tuple[Death, ...] = ()

    def but(self, **changes: Any) -> Marker:
        """Return a copy with `changes`."""
        return self.model_copy(update=changes)

"""The few errors of the core. Each message says what was found, what was expected and what to do."""


class Spark3rError(Exception):
    """Base of every error a user can cause or cure; the CLI prints it as one line."""


class GeometryError(Spark3rError):
    """A pose, camera or alignment that cannot be computed (degenerate, wrong shape, not finite)."""


class ImageError(Spark3rError):
    """An image that cannot be used: wrong shape, too small, unreadable."""


class CheckpointError(Spark3rError):
    """Weights that are missing, truncated, of another model, or misshapen; names the key."""


class DownloadError(Spark3rError):
    """Weights that could not be fetched: licence not accepted, no network, gated repository, wrong bytes."""


class MemoryBudgetError(Spark3rError):
    """A byte budget too small for one window and its anchor; says the smallest that works."""


class SettingsError(Spark3rError):
    """Settings of a session that contradict each other or the model; says which and what to change."""

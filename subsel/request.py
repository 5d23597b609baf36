"""What a caller asks for, checked once before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt

from subsel.config import MISSING_SIZE, SelectConfig
from subsel.constraints import Wishes
from subsel.errors import ConfigError
from subsel.output import check_new, make_folder
from subsel.rundir import RunDirectory, source_name, wishes_name


@dataclass(frozen=True, eq=False)
class Request:
    """A request, as all that carry it out see it.

    Attributes:
        data: points, see `subsel.select`; None where the graph says which there are.
        graph: the user's own graph; None: one is made of the points' embeddings.
        utility: one number per input row; None: a column of the data has them, or all are 1.
        sizes: a config, of which only the size differs, and where its subset goes, if anywhere.
        wishes: who is in or out whatever its gain.
        engine: "auto", "local", "spark" or a SparkSession.
        master: where a Spark session of our own runs.
        overwrite: whether outputs that subsel wrote are replaced.
        run_dir: folder in which finished stages are kept.
        resume: whether a run goes on from there.
        progress: whether it is shown; None: if stderr is a terminal.
        storage_options: how paths are opened that are not on this machine.
    """

    data: Any
    graph: Any = None
    utility: npt.ArrayLike | None = None
    sizes: tuple[tuple[SelectConfig, Path | None], ...] = ((SelectConfig(), None),)
    wishes: Wishes = Wishes()  # noqa: RUF009  (frozen)
    engine: Any = "auto"
    master: str | None = None
    overwrite: bool = False
    run_dir: str | Path | None = None
    resume: bool = False
    progress: bool | None = None
    storage_options: dict[str, Any] | None = None

    @classmethod
    def of(  # noqa: PLR0913  (all that a caller says)
        cls,
        purpose: Literal["select from", "score on"],
        data: Any,
        sizes: Sequence[tuple[int | float | str | None, Path | None]] = ((None, None),),
        folder: str | Path | None = None,
        /,  # so that no option of that name gets here
        *,
        graph: Any = None,
        utility: str | npt.ArrayLike | None = None,
        engine: Any = "auto",
        master: str | None = None,
        config: SelectConfig | str | Path | None = None,
        overwrite: bool = False,
        include: Any = None,
        exclude: Any = None,
        run_dir: str | Path | None = None,
        resume: bool = False,
        progress: bool | None = None,
        storage_options: dict[str, Any] | None = None,
        **options: Any,
    ) -> Request:
        """Return what a caller of `subsel.select` and its like said, checked.

        Args:
            purpose: what the data is for.
            data: see `subsel.select`, as for all that is not named here.
            sizes: what is to be selected, and where it goes; a size of None is that of the options or the config.
            folder: made, if it is not there, once all but the outputs is right; they lie in it.
            graph, utility, engine, master, config, overwrite, include, exclude, run_dir, resume, progress,
                storage_options: as in `subsel.select`.
            **options: fields of `SelectConfig`.

        Raises:
            ConfigError: options are wrong or contradict each other, or something is missing.
            InputError: an output exists or cannot be made.
        """
        column, given = (utility, None) if isinstance(utility, str) else (None, utility)
        request = cls(
            data,
            graph,
            given,
            tuple((_sized(config, size, options | {"utility": column}), path) for size, path in sizes),
            wishes=Wishes(include, exclude),
            engine=engine,
            master=master,
            overwrite=overwrite,
            run_dir=run_dir,
            resume=resume,
            progress=progress,
            storage_options=storage_options,
        )
        if data is None and graph is None:
            raise ConfigError(f"there is nothing to {purpose}: give data, or a graph.")
        if purpose == "select from" and request.config.size is None:
            raise ConfigError(MISSING_SIZE)
        if resume and run_dir is None:
            raise ConfigError("resume goes on from a run directory: give run_dir.")
        if folder is not None:
            make_folder(folder)
        for _, path in request.sizes:
            if path is not None:
                check_new(path, overwrite=overwrite, inputs=[data, graph])
        return request

    @property
    def config(self) -> SelectConfig:
        """The first size's config: for all but the size, that of all."""
        return self.sizes[0][0]

    def open_rundir(self, stages: Iterable[str], *, resume: bool) -> RunDirectory | None:
        """Return the run directory that is asked for, or None.

        Args:
            stages: those that the run is about.
            resume: whether it may have some of them already.

        Raises:
            InputError: see `RunDirectory`.
            ConfigError: a wish cannot be told from others.
        """
        if self.run_dir is None:
            return None
        wishes, source = wishes_name(self.wishes), source_name(self.data, self.graph)
        return RunDirectory(self.run_dir, self.config, source, resume=resume, wishes=wishes, stages=stages)


def _sized(
    config: SelectConfig | str | Path | None, size: int | float | str | None, options: dict[str, Any]
) -> SelectConfig:
    return load_config(config, **(options if size is None else options | {"size": size}))


def load_config(config: SelectConfig | str | Path | None, **options: Any) -> SelectConfig:
    """Return a config with options that are not None on top.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    if isinstance(config, SelectConfig):
        changes = {key: value for key, value in options.items() if value is not None}
        return SelectConfig.of(config.model_dump() | changes)
    return SelectConfig.load(config, **options)

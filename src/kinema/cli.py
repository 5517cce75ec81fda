"""The front door: ``kinema <verb>``. Everything heavy is imported by the verb that needs it, so that help comes at once."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, UseAppendAction

from .errors import UserError

VERBS = ("data", "show", "train", "evaluate", "embed", "import-weights", "demo", "papers", "doctor")
"""The public verbs; a test freezes them."""
DATA_VERBS = ("list", "build", "check")

Device = Literal["auto", "cpu", "cuda", "mps"]
app = tyro.extras.SubcommandApp()
data_app = tyro.extras.SubcommandApp()
app.command(data_app, name="data", help="List known data sets, build and check stores.")


def verb(name: str, of: tyro.extras.SubcommandApp = app) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a verb. Parsing only binds its options, so that what the parser complains of is known before anything runs."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def bound(*args: Any, **options: Any) -> Callable[[], None]:
            return functools.partial(function, *args, **options)

        of.command(bound, name=name)
        return function

    return register


@verb("list", data_app)
def data_list() -> None:
    """Print the data sets that Kinema knows, their splits and where their owners give them."""
    from .verbs import data as data_verb

    data_verb.list_datasets()


@verb("build", data_app)
def data_build(
    source: Positional[Path],
    out: Path,
    dataset: str | None = None,
    format: str | None = None,
    index: Path | None = None,
    skeleton: Path | None = None,
    workers: int | None = None,
    strict: bool = False,
    overwrite: bool = False,
) -> None:
    """Read motion files into a store, which training opens without reading.

    Args:
        source: folder, zip or single file.
        out: the store to make, a folder.
        dataset: name from `kinema data list`; gives format, classes and splits.
        format: format of the files, if it is no known data set; default: guessed.
        index: your own data: a CSV with the columns file and label (and subject, view, split, fps, start, end, caption if you have them).
        skeleton: your own data: a JSON with joints and parents, or the name of a known skeleton.
        workers: processes; default: one a core.
        strict: stop at the first bad file instead of skipping it.
        overwrite: replace the store that is there.
    """
    from .verbs import data as data_verb

    data_verb.build_store(source, out, dataset, format, index, skeleton, workers, strict, overwrite)


@verb("check", data_app)
def data_check(store: Positional[Path], strict: bool = False) -> None:
    """Verify a store: checksum, clips, classes and the sizes of its splits.

    Args:
        store: the folder that `kinema data build` made.
        strict: a split whose size is not the published one is an error.
    """
    from .verbs import data as data_verb

    data_verb.check_store(store, strict)


@verb("show")
def show(
    file: Positional[Path],
    clip: int = 0,
    out: Path | None = None,
    skeleton: Path | None = None,
) -> None:
    """Print what is inside a motion file or a store, and draw it.

    Args:
        file: a motion file of any known format, a zip or folder of them, or a store.
        clip: which clip to draw, from 0.
        out: draw to this .png, .gif or .mp4; default: a .png beside where you are, named after the file.
        skeleton: joints of a bare array, as JSON file or known name.
    """
    from .verbs import show as show_verb

    show_verb.show(file, clip, out, skeleton)


@verb("train")
def train(
    method: Positional[str],
    data: Path,
    out: Path,
    preset: str = "small",
    split: str | None = None,
    seed: int = 0,
    epochs: float | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    precision: Literal["32", "bf16"] | None = None,
    compile: bool = False,
    accelerator: Device = "auto",
    devices: int = 1,
    max_steps: int | None = None,
    checkpoint_minutes: float | None = None,
    resume: bool = False,
    tensorboard: bool = False,
    set: Annotated[tuple[str, ...], UseAppendAction] = (),
) -> None:
    """Pre-train an encoder on a store.

    Args:
        method: which paper: mamp.
        data: the store.
        out: the run folder to make.
        preset: paper-ntu60, paper-ntu120, paper-pku, small or fast.
        split: train on the training clips of this split only; default: on all clips.
        seed: of every random draw.
        epochs: instead of the preset's.
        batch_size: instead of the preset's.
        lr: learning rate instead of the preset's.
        precision: 32 or bf16, instead of the preset's.
        compile: use torch.compile.
        accelerator: where to run.
        devices: processes; torchrun and Slurm set their own.
        max_steps: stop after so many steps, as an interruption would.
        checkpoint_minutes: write a checkpoint this often, besides each epoch.
        resume: go on in a run folder.
        tensorboard: write event files too.
        set: any other value of the recipe, as path=value, for instance --set model.tau=0.75; may be repeated.
    """
    from .verbs import train as train_verb

    changes = {"epochs": epochs, "batch_size": batch_size, "optimiser.lr": lr, "precision": precision, "compile": compile or None}
    train_verb.train(
        method, preset, data, out, split, seed, {k: v for k, v in changes.items() if v is not None}, set, accelerator, devices, max_steps,
        checkpoint_minutes, resume, tensorboard,
    )  # fmt: skip


@verb("evaluate")
def evaluate(
    runs: Positional[tuple[Path, ...]],
    data: Path,
    split: str,
    out: Path | None = None,
    protocols: tuple[str, ...] = ("linear", "knn", "random-linear", "random-knn", "raw-linear", "raw-knn"),
    epochs: int | None = None,
    accelerator: Device = "auto",
) -> None:
    """Measure trained encoders by the field's protocols; write metrics.json and report.html.

    Args:
        runs: run folders of one recipe with different seeds.
        data: the store to measure on (another one than the runs were trained on: transfer).
        split: its split.
        out: where to write; default: the folder "evaluation" in the first run.
        protocols: linear, knn, random-linear, random-knn, raw-linear, raw-knn, linear-published, finetune, scratch, semi-1, semi-5,
            semi-10, semi-20.
        epochs: of every trained classifier, instead of the recipe's.
        accelerator: where to run.
    """
    from .verbs import evaluate as evaluate_verb

    evaluate_verb.evaluate(runs, data, split, out, protocols, epochs, accelerator)


@verb("embed")
def embed(run: Positional[Path], source: Positional[Path], out: Path, accelerator: Device = "auto") -> None:
    """Write features of motion files, or of a store, to an .npz: features (N, D), names, labels.

    Args:
        run: a run folder.
        source: a store, or a motion file, folder or zip of any known format.
        out: the .npz to make.
        accelerator: where to run.
    """
    from .verbs import evaluate as evaluate_verb

    evaluate_verb.embed(run, source, out, accelerator)


@verb("import-weights")
def import_weights(method: Positional[str], file: Positional[Path], preset: str, out: Path, skeleton: str = "ntu25") -> None:
    """Turn the authors' checkpoint into a run folder that every command accepts.

    Args:
        method: which paper: mamp.
        file: their .pth file. It is read without running code.
        preset: the published configuration it was trained with, for instance paper-ntu60.
        out: the run folder to make.
        skeleton: of its data.
    """
    from .verbs import train as train_verb

    train_verb.import_weights(method, file, preset, out, skeleton)


@verb("demo")
def demo(out: Path = Path("runs/demo")) -> None:
    """See the whole of it in minutes: synthetic people, pre-training, protocols, a report.

    Args:
        out: where to write report.html and metrics.json.
    """
    from .verbs import evaluate as evaluate_verb

    evaluate_verb.demo(out)


@verb("papers")
def papers() -> None:
    """Print the nine papers and what works today."""
    from .verbs import about

    about.papers()


@verb("doctor")
def doctor() -> None:
    """Print versions, devices and what this machine can do; exit 2 if something that Kinema needs is missing."""
    from .verbs import about

    about.doctor()


def _one_line(text: str) -> str:
    """What the parser printed in a box, as one line."""
    words = re.sub(r"[─│╭╮╰╯]", " ", text)
    return re.sub(r"\s+", " ", words).strip()


def _parse(arguments: Sequence[str]) -> Callable[[], None]:
    """The verb with its options, ready to be called.

    Raises:
        UserError: an unknown verb, flag or value. SystemExit: help was asked for and printed.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return app.cli(prog="kinema", args=list(arguments) or ["--help"])
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_one_line(complaint.getvalue()) or "the command line was not understood; see kinema --help") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb. Returns 0 when done, 2 for a user's mistake, 1 for ours."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _parse(arguments)()
    except UserError as error:
        print(f"kinema: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except SystemExit as stop:
        return int(stop.code or 0)
    except KeyboardInterrupt:
        print("kinema: interrupted", file=sys.stderr)
        return 2
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except Exception:
        traceback.print_exc()
        print("kinema: this is our fault, not yours; please report it with the lines above", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

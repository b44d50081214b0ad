"""The procedural world: exact depth, poses and intrinsics for training, tests and `synthetic:` sources."""

from spark3r_core.synthetic.paths import PATH_KINDS as PATH_KINDS
from spark3r_core.synthetic.paths import make_path as make_path
from spark3r_core.synthetic.render import render as render
from spark3r_core.synthetic.sequence import SyntheticSequence as SyntheticSequence
from spark3r_core.synthetic.sequence import TrainingBatch as TrainingBatch
from spark3r_core.synthetic.sequence import sample_batch as sample_batch
from spark3r_core.synthetic.world import Worlds as Worlds
from spark3r_core.synthetic.world import make_worlds as make_worlds

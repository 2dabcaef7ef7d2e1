"""Data sets in and out, and worlds made from seeds."""

from serval.data.dataset import FORMATS, Dataset, open_dataset, write_dataset

__all__ = ["FORMATS", "Dataset", "open_dataset", "write_dataset"]

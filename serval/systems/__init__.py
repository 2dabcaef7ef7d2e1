"""Published systems, one file each: it composes parts, names its stages, and says where it departs from the paper."""

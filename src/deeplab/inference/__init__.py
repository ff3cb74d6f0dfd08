"""From a network and a picture of any size to class probabilities: padding, scales, flip, tiles."""

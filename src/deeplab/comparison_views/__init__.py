"""A comparison shown: page, Markdown, print, W&B; all take the document of `deeplab.comparison` and compute nothing."""

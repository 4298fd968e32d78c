"""Dataset formats, text, and images: everything between a folder on disk and a batch.

One module per dataset format, each with the same three names: `NAME` (as on the command line),
`FOLDER` (what the dataset's folder is called below the data root) and `load(root)`, which returns
a `reidlib.data.dataset.Dataset`. Nothing is imported here, so reading annotations needs no torch.
"""

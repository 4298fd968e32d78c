"""Dataset formats, text, and images: everything between a folder on disk and a batch.

`register` lists the datasets, `load` loads one by its name as a `dataset.Dataset`; `formats` has a
loader for each, `language` makes captions words, `batches` makes images and words tensors. What is
read beside a dataset is in `extras`, what files hold in `content`. Nothing is imported here, so
reading annotations needs no torch.
"""

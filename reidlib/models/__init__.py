"""Networks: one module per paper, the methods their authors compared with, and common parts.

A module of a method that matches images with captions (`imgnet`, `ssan`, all of `compared`) has the
same names, so that one loop can train and test them all; its configuration, a frozen dataclass,
leads to it: ``sys.modules[type(config).__module__]``.

NETWORK                                    the network's class: NETWORK(config). Its `backbone` is
                                           the image network that starts from other weights (with
                                           `load_start(state)` if more than `backbone.*` is to be
                                           done); `encode_images(images)` and `encode_text(...)`
                                           give codes; `text_cost(words)` counts multiply-adds
draw(model, split, generator, batch_size)  one epoch: yields captions int64 (B,) of the split, whose
                                           images they are, and captions that go along with them,
                                           int64 (B,), or None
losses(model, batch, stage)                named scalar losses of a batch, to be summed
evaluations(config)                        name -> {similarity: weight}, what ranks the gallery; the
                                           last one is that of the paper's test
similarities(images, texts, config=None)   name -> float32 (captions, images) of codes; config for
                                           methods that compare in more than one way
NEEDS                                      what batches hold beside images and captions: "masks"
PHRASES                                    whether `encode_text` takes all five tensors of a
                                           caption's text, or its words only, the first two

Rows of a table that share a layer start it alike under one seed: layers that only some rows have,
or have in another size, are drawn last, or drawn by all and left out by those that have none.

A split has `labels` and `image_of`, int64 (captions,); a batch `images`, `text`, `labels`,
`image_ids`, `weak` and `masks` (see `reidlib.data.batches.pairs`); a stage has a `name`.
"""

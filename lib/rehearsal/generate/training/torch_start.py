"""How torch starts in a process that trains and ends."""


def start_torch() -> None:
    """Import torch with one thread and keep its optimisers from loading its compiler.

    They load all of `torch._dynamo` just to say that they are not to be compiled: more CPU-seconds
    than many a bin of segments takes to train, and 150 MB. What they compute stays as it is. If a
    torch to come does this in another way, it loads its compiler again, and no more.
    """
    import torch
    from torch.optim import Adam, Optimizer

    torch.set_num_threads(1)
    for method in vars(Optimizer).values():
        marked = getattr(method, "__wrapped__", None)
        if marked is not None:
            # Where `torch._disable_dynamo` keeps its result, and finds it.
            marked.__dict__.setdefault("__dynamo_disable", marked)
    step = getattr(Adam.step, "__wrapped__", None)
    if step is not None:
        # The wrapper left out sets the same mode, and marks what it calls.
        Adam.step = torch.no_grad()(step)  # type: ignore[method-assign]

"""The search of hyper-parameters, a step of a training."""

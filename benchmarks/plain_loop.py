"""The work of one pass through the loop as a plain Python script: no Dagster, one process, one step after the other.

Data file -> validated batch -> training set -> model (MLflow) -> bundle -> test deployment -> production. Prints JSON
with the seconds of each step. `benchmarks/loop.py` runs it for comparison in a prepared scratch installation.
"""

import json
import sys
import time
from pathlib import Path


def main(root: Path, product_name: str) -> None:
    began = time.perf_counter()
    from mlauto.commands.products import find_product
    from mlauto.orchestration import steps
    from mlauto.orchestration.platform import Platform
    from mlauto.settings import Settings
    from mlauto.training.batches.landing import FolderLanding, pending, plan

    settings = Settings.from_environment()
    platform = Platform.from_settings(settings)
    product = find_product(settings, product_name)
    seconds = {"imports": time.perf_counter() - began}

    def timed(name: str, work: object) -> None:
        start = time.perf_counter()
        work()  # type: ignore[operator]
        seconds[name] = time.perf_counter() - start

    def batch() -> None:
        plan(platform.store, product.name, FolderLanding(root / "landing" / product.name), time.time())
        for key in pending(platform.store, product.name):
            steps.take_batch(platform, product, key)

    timed("batch", batch)
    timed("training_set", lambda: steps.assemble_training_set(platform, product))
    timed("model", lambda: steps.train_model(platform, product, "benchmark", lambda _line: None))
    timed("image", lambda: steps.build_model_image(platform, product))
    timed("test_deployment", lambda: steps.deploy_to_test(platform, product))
    timed("production", lambda: steps.release(platform, product, "benchmark"))
    seconds["total"] = time.perf_counter() - began
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

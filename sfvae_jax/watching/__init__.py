"""Who watches a run train: a function of the caller, TensorBoard, a profiler, drawn pictures."""

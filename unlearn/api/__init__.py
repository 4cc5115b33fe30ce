"""The library behind `unlearn.run`, `unlearn.forget` and `unlearn.evaluate`."""

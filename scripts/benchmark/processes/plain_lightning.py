"""The same training with the Trainer of Lightning and its defaults."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from plain import Stopwatch, arguments, report
from plain_tensors import loader, splits
from plain_torch_network import network
from torch.nn import functional as F


class Classifier(lightning.LightningModule):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def training_step(self, batch: Any, index: int) -> Any:
        images, labels = batch
        loss = F.cross_entropy(self.model(images), labels)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Any, index: int) -> None:
        self._evaluate(batch, "validation")

    def test_step(self, batch: Any, index: int) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: Any, part: str) -> None:
        images, labels = batch
        output = self.model(images)
        self.log(f"{part}_loss", F.cross_entropy(output, labels))
        self.log(f"{part}_accuracy", (output.argmax(1) == labels).float().mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Timing(lightning.Callback):
    def __init__(self) -> None:
        self.watch = Stopwatch()

    def on_train_epoch_start(self, *_: Any) -> None:
        self.watch.begin()

    def on_train_batch_end(self, *_: Any) -> None:
        self.watch.lap()


def main() -> None:
    options = arguments()
    training, validation, test = splits(options.data)
    model = Classifier(network(training.tensors[0].shape[1:], options))
    timing = Timing()
    trainer = lightning.Trainer(max_epochs=options.epochs, callbacks=[timing])
    trainer.fit(model, loader(training, options.batch_size, shuffle=True), loader(validation, options.batch_size))
    (tested,) = trainer.test(model, loader(test, options.batch_size))
    report(timing.watch, len(training), float(tested["test_accuracy"]), str(trainer.strategy.root_device))


main()

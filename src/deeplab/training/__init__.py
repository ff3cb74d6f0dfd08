"""The LightningModule, its losses, schedule, parameter groups and callbacks."""

"""The contract, `configurator.proto`, and the code that `make proto` generates from it."""

"""The `vidbatch` command."""

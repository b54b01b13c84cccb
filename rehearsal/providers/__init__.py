"""The packages that stand in for the real providers, attached to the engine by gRPC."""

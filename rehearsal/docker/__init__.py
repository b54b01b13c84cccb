"""Docker as the rehearsed server has it: what its provider asks, and who answers."""

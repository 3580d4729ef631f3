"""How people reach the engine. Never imports torch or ray."""

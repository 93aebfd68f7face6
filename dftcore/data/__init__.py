"""From rows of text to token batches: `sources` -> `chat` -> `documents` -> `batching`; `problems` generates rows."""

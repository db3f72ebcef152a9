"""From the scores of a checkpoint to figures, tables and reports."""

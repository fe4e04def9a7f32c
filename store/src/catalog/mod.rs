//! Which sources exist and which metrics they have: the writers' logs, and the index over them.

//! Two writers: one durable file at a time, and a staged output folder.

//! What crosses crates: goldens, consumers' own parsers, and clusters of real components.

//! Pure encoders from a node's tree to payloads, and the decoders that check them.

//! A machine that boots with a cloud-init payload.

//! The contract between the builder and the node: NodePlan and the domain types it is made of.

//! The gateway as its clients see it, in front of services that speak the mesh's gRPC.

mod grpc;
mod rest;
mod support;

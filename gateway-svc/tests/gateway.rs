//! The gateway as its clients see it, in front of fake gRPC services.

mod grpc;
mod rest;
mod support;

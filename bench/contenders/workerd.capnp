# What `bench -- compare` runs workerd with. The address is a flag.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [(name = "functions", worker = .functions)],
  sockets = [(name = "http", http = (), service = "functions")],
);

const functions :Workerd.Worker = (
  modules = [(name = "functions", esModule = embed "workerd.js")],
  compatibilityDate = "2025-11-01",
);

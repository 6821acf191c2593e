# FunLess Mesh on Nomad, with Consul's DNS for the names of services, and a PostgreSQL database. Each service has its
# own port on the hosts, so that a host runs one replica of each at most.
#
#   nomad var put nomad/jobs/funless secret=$(openssl rand -hex 32) admin_token=$(openssl rand -hex 32) \
#     encryption_key=$(openssl rand -hex 32) database_url=postgres://funless:PASSWORD@db/funless
#   nomad job run deploy/nomad/funless.nomad.hcl

job "funless" {
  type = "service"

  update {
    max_parallel     = 1
    health_check     = "checks"
    min_healthy_time = "5s"
    healthy_deadline = "2m"
    auto_revert      = true
  }

  group "registry" {
    count = 2

    network {
      mode = "host"
      port "grpc" {
        static = 4001
      }
      port "admin" {
        static = 4101
      }
    }

    service {
      name = "funless-registry"
      port = "grpc"

      check {
        type     = "http"
        path     = "/readyz"
        port     = "admin"
        interval = "5s"
        timeout  = "3s"
      }
    }

    task "registry" {
      driver = "docker"
      # Running calls have 30 seconds to finish.
      kill_timeout = "45s"

      config {
        image           = "funless/registry-svc:0.1.0"
        network_mode    = "host"
        ports           = ["grpc", "admin"]
        readonly_rootfs = true
        cap_drop        = ["all"]
      }

      env {
        FUNLESS_REGISTRY_SERVER__LISTEN      = "0.0.0.0:4001"
        FUNLESS_REGISTRY_SERVER__SECRET_FILE = "${NOMAD_SECRETS_DIR}/secret"
        FUNLESS_REGISTRY_ADMIN_TOKEN_FILE    = "${NOMAD_SECRETS_DIR}/admin_token"
        FUNLESS_REGISTRY_ENCRYPTION_KEY_FILE = "${NOMAD_SECRETS_DIR}/encryption_key"
        FUNLESS_REGISTRY_DATABASE_URL_FILE   = "${NOMAD_SECRETS_DIR}/database_url"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .secret }}{{ end }}"
        destination = "secrets/secret"
        change_mode = "restart"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .admin_token }}{{ end }}"
        destination = "secrets/admin_token"
        change_mode = "restart"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .encryption_key }}{{ end }}"
        destination = "secrets/encryption_key"
        change_mode = "restart"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .database_url }}{{ end }}"
        destination = "secrets/database_url"
        change_mode = "restart"
      }

      resources {
        cpu    = 200
        memory = 768
      }
    }
  }

  group "scheduler" {
    count = 1

    network {
      mode = "host"
      port "grpc" {
        static = 4002
      }
      port "admin" {
        static = 4102
      }
    }

    service {
      name = "funless-scheduler"
      port = "grpc"

      check {
        type     = "http"
        path     = "/readyz"
        port     = "admin"
        interval = "5s"
        timeout  = "3s"
      }
    }

    task "scheduler" {
      driver = "docker"
      # Running calls have 30 seconds to finish.
      kill_timeout = "45s"

      config {
        image           = "funless/scheduler-svc:0.1.0"
        network_mode    = "host"
        ports           = ["grpc", "admin"]
        readonly_rootfs = true
        cap_drop        = ["all"]
      }

      env {
        FUNLESS_SCHEDULER_SERVER__LISTEN      = "0.0.0.0:4002"
        FUNLESS_SCHEDULER_SERVER__SECRET_FILE = "${NOMAD_SECRETS_DIR}/secret"
        FUNLESS_SCHEDULER_REGISTRY            = "http://funless-registry.service.consul:4001"
        FUNLESS_SCHEDULER_SINK                = "http://funless-sink.service.consul:4005"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .secret }}{{ end }}"
        destination = "secrets/secret"
        change_mode = "restart"
      }

      resources {
        cpu    = 200
        memory = 512
      }
    }
  }

  group "worker" {
    count = 2

    network {
      mode = "host"
      port "grpc" {
        static = 4003
      }
      port "admin" {
        static = 4103
      }
    }

    service {
      name = "funless-worker"
      port = "grpc"

      check {
        type     = "http"
        path     = "/readyz"
        port     = "admin"
        interval = "5s"
        timeout  = "3s"
      }
    }

    task "worker" {
      driver = "docker"
      # Running calls have 30 seconds to finish.
      kill_timeout = "45s"

      config {
        image           = "funless/worker-svc:0.1.0"
        network_mode    = "host"
        ports           = ["grpc", "admin"]
        readonly_rootfs = true
        cap_drop        = ["all"]
      }

      env {
        FUNLESS_WORKER_SERVER__LISTEN       = "0.0.0.0:4003"
        FUNLESS_WORKER_SERVER__SECRET_FILE  = "${NOMAD_SECRETS_DIR}/secret"
        FUNLESS_WORKER_ADVERTISE            = "http://${attr.unique.network.ip-address}:4003"
        FUNLESS_WORKER_REGISTRY             = "http://funless-registry.service.consul:4001"
        FUNLESS_WORKER_SCHEDULERS           = "[\"http://funless-scheduler.service.consul:4002\"]"
        FUNLESS_WORKER_NAME                 = "${node.unique.name}"
        FUNLESS_WORKER_CACHE_DIR            = "${NOMAD_ALLOC_DIR}/data/code"
        FUNLESS_WORKER_TOTAL_MEMORY_BYTES   = "1073741824"
        FUNLESS_WORKER_COMPILE_THREADS      = "1"
        FUNLESS_WORKER_COMPILE_MEMORY_BYTES = "536870912"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .secret }}{{ end }}"
        destination = "secrets/secret"
        change_mode = "restart"
      }

      resources {
        cpu    = 1000
        memory = 3072
      }
    }
  }

  group "connector" {
    count = 2

    network {
      mode = "host"
      port "grpc" {
        static = 4004
      }
      port "admin" {
        static = 4104
      }
    }

    service {
      name = "funless-connector"
      port = "grpc"

      check {
        type     = "http"
        path     = "/readyz"
        port     = "admin"
        interval = "5s"
        timeout  = "3s"
      }
    }

    task "connector" {
      driver = "docker"
      # Running calls have 30 seconds to finish.
      kill_timeout = "45s"

      config {
        image           = "funless/connector-svc:0.1.0"
        network_mode    = "host"
        ports           = ["grpc", "admin"]
        readonly_rootfs = true
        cap_drop        = ["all"]
      }

      env {
        FUNLESS_CONNECTOR_SERVER__LISTEN      = "0.0.0.0:4004"
        FUNLESS_CONNECTOR_SERVER__SECRET_FILE = "${NOMAD_SECRETS_DIR}/secret"
        FUNLESS_CONNECTOR_DATABASE_URL_FILE   = "${NOMAD_SECRETS_DIR}/database_url"
        FUNLESS_CONNECTOR_REGISTRY            = "http://funless-registry.service.consul:4001"
        FUNLESS_CONNECTOR_SCHEDULER           = "http://funless-scheduler.service.consul:4002"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .secret }}{{ end }}"
        destination = "secrets/secret"
        change_mode = "restart"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .database_url }}{{ end }}"
        destination = "secrets/database_url"
        change_mode = "restart"
      }

      resources {
        cpu    = 200
        memory = 512
      }
    }
  }

  group "sink" {
    count = 2

    network {
      mode = "host"
      port "grpc" {
        static = 4005
      }
      port "admin" {
        static = 4105
      }
    }

    service {
      name = "funless-sink"
      port = "grpc"

      check {
        type     = "http"
        path     = "/readyz"
        port     = "admin"
        interval = "5s"
        timeout  = "3s"
      }
    }

    task "sink" {
      driver = "docker"
      # Running calls have 30 seconds to finish.
      kill_timeout = "45s"

      config {
        image           = "funless/sink-svc:0.1.0"
        network_mode    = "host"
        ports           = ["grpc", "admin"]
        readonly_rootfs = true
        cap_drop        = ["all"]
      }

      env {
        FUNLESS_SINK_SERVER__LISTEN      = "0.0.0.0:4005"
        FUNLESS_SINK_SERVER__SECRET_FILE = "${NOMAD_SECRETS_DIR}/secret"
        FUNLESS_SINK_DATABASE_URL_FILE   = "${NOMAD_SECRETS_DIR}/database_url"
        FUNLESS_SINK_REGISTRY            = "http://funless-registry.service.consul:4001"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .secret }}{{ end }}"
        destination = "secrets/secret"
        change_mode = "restart"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .database_url }}{{ end }}"
        destination = "secrets/database_url"
        change_mode = "restart"
      }

      resources {
        cpu    = 200
        memory = 512
      }
    }
  }

  group "gateway" {
    count = 2

    network {
      mode = "host"
      port "http" {
        static = 4000
      }
      port "grpc" {
        static = 4010
      }
      port "admin" {
        static = 4100
      }
    }

    service {
      name = "funless-gateway"
      port = "http"

      check {
        type     = "http"
        path     = "/readyz"
        port     = "admin"
        interval = "5s"
        timeout  = "3s"
      }
    }

    task "gateway" {
      driver = "docker"
      # Running calls have 30 seconds to finish.
      kill_timeout = "45s"

      config {
        image           = "funless/gateway-svc:0.1.0"
        network_mode    = "host"
        ports           = ["http", "grpc", "admin"]
        readonly_rootfs = true
        cap_drop        = ["all"]

        # Uploads are spooled here.
        mount {
          type   = "tmpfs"
          target = "/tmp"
        }
      }

      env {
        FUNLESS_GATEWAY_SERVER__LISTEN      = "0.0.0.0:4000"
        FUNLESS_GATEWAY_SERVER__SECRET_FILE = "${NOMAD_SECRETS_DIR}/secret"
        FUNLESS_GATEWAY_GRPC_LISTEN         = "0.0.0.0:4010"
        FUNLESS_GATEWAY_REGISTRY            = "http://funless-registry.service.consul:4001"
        FUNLESS_GATEWAY_SCHEDULER           = "http://funless-scheduler.service.consul:4002"
        FUNLESS_GATEWAY_CONNECTOR           = "http://funless-connector.service.consul:4004"
        FUNLESS_GATEWAY_SINK                = "http://funless-sink.service.consul:4005"
      }

      template {
        data        = "{{ with nomadVar \"nomad/jobs/funless\" }}{{ .secret }}{{ end }}"
        destination = "secrets/secret"
        change_mode = "restart"
      }

      resources {
        cpu    = 200
        memory = 512
      }
    }
  }
}

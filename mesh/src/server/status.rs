//! `funless.service.v1.ServiceStatus`, which every port serves.

use proto::service::v1::service_status_server::ServiceStatus;
use proto::service::v1::{GetServiceStatusRequest, GetServiceStatusResponse};
use tonic::{Request, Response, Status};

use crate::auth::Caller;
use crate::health::Readiness;

/// Says how the service with this readiness is.
#[derive(Debug, Clone)]
pub(super) struct StatusHandler(pub(super) Readiness);

#[tonic::async_trait]
impl ServiceStatus for StatusHandler {
    async fn get_service_status(
        &self,
        request: Request<GetServiceStatusRequest>,
    ) -> Result<Response<GetServiceStatusResponse>, Status> {
        Caller::of(&request).only_services()?;
        let missing_conditions = self.0.missing().into_iter().map(str::to_owned).collect();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Response::new(GetServiceStatusResponse { version, missing_conditions }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_says_what_it_waits_for() {
        let readiness = Readiness::default();
        let condition = readiness.condition("follows the registry");
        let _serving = readiness.serving();
        let handler = StatusHandler(readiness);
        let ask = async || {
            let request = Request::new(GetServiceStatusRequest {});
            handler.get_service_status(request).await.expect("a status").into_inner()
        };
        assert_eq!(ask().await.missing_conditions, ["follows the registry"]);
        condition.set(true);
        let status = ask().await;
        assert_eq!((status.missing_conditions.len(), &*status.version), (0, env!("CARGO_PKG_VERSION")));
        let mut of_user = Request::new(GetServiceStatusRequest {});
        of_user.extensions_mut().insert(Caller::Admin("root".into()));
        assert!(handler.get_service_status(of_user).await.is_err(), "it is for services");
    }
}

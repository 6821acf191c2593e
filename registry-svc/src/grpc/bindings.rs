//! `funless.registry.v1.Bindings`.

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use mesh::Caller;
use prost::Message as _;
use proto::registry::v1::bindings_server::Bindings;
use proto::registry::v1::{
    FindHoldersRequest, FindHoldersResponse, HoldBindingsRequest, HoldBindingsResponse,
    ReleaseBindingsRequest, ReleaseBindingsResponse,
};
use tonic::{Request, Response, Status};

use super::Handler;

/// The approximate maximum size of the bindings in one part of a share. A single one may be larger.
const MAX_PART_BYTES: usize = 1 << 20;

#[tonic::async_trait]
impl Bindings for Handler {
    type HoldBindingsStream = BoxStream<'static, Result<HoldBindingsResponse, Status>>;

    async fn hold_bindings(
        &self,
        request: Request<HoldBindingsRequest>,
    ) -> Result<Response<Self::HoldBindingsStream>, Status> {
        let caller = Caller::of(&request);
        let share = self.registry.hold_bindings(&caller, request.into_inner()).await?;
        Ok(Response::new(stream::iter(split(share)).map(Ok).boxed()))
    }

    async fn release_bindings(
        &self,
        request: Request<ReleaseBindingsRequest>,
    ) -> Result<Response<ReleaseBindingsResponse>, Status> {
        let caller = Caller::of(&request);
        let ReleaseBindingsRequest { role, holder } = request.into_inner();
        self.registry.release_bindings(&caller, role, &holder).await?;
        Ok(Response::new(ReleaseBindingsResponse {}))
    }

    async fn find_holders(
        &self,
        request: Request<FindHoldersRequest>,
    ) -> Result<Response<FindHoldersResponse>, Status> {
        let caller = Caller::of(&request);
        let FindHoldersRequest { ids } = request.into_inner();
        Ok(Response::new(self.registry.find_holders(&caller, &ids).await?))
    }
}

/// Splits a share into parts that fit into messages.
fn split(mut share: HoldBindingsResponse) -> Vec<HoldBindingsResponse> {
    let bindings = std::mem::take(&mut share.bindings);
    let empty = HoldBindingsResponse { removed: Vec::new(), released: Vec::new(), ..share.clone() };
    let (mut parts, mut bytes) = (vec![share], 0);
    for binding in bindings {
        let size = binding.encoded_len();
        if bytes > 0 && bytes + size > MAX_PART_BYTES {
            parts.push(empty.clone());
            bytes = 0;
        }
        bytes += size;
        if let Some(part) = parts.last_mut() {
            part.bindings.push(binding);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::{Binding, FunctionBinding};

    use super::*;

    #[test]
    fn a_large_share_is_split() {
        let bound = |size: usize| {
            let binding = Binding { params: "x".repeat(size), ..Binding::default() };
            FunctionBinding { binding: Some(binding), ..FunctionBinding::default() }
        };
        let share = |sizes: &[usize]| HoldBindingsResponse {
            bindings: sizes.iter().map(|size| bound(*size)).collect(),
            removed: vec!["gone".into()],
            released: vec!["moved".into()],
            lease_ms: 6000,
            revision: 7,
            known_revision: 6,
        };
        let (half, whole) = (MAX_PART_BYTES / 2, MAX_PART_BYTES);
        for (sizes, expected) in [
            (vec![], vec![0]),
            (vec![1, 1], vec![2]),
            (vec![half, half], vec![1, 1]),
            (vec![half, half - 100, 200], vec![2, 1]),
            (vec![whole, 1, whole + 1], vec![1, 1, 1]),
        ] {
            let parts = split(share(&sizes));
            assert_eq!(parts.iter().map(|part| part.bindings.len()).collect::<Vec<_>>(), expected);
            let numbers = |part: &HoldBindingsResponse| (part.lease_ms, part.revision, part.known_revision);
            assert!(parts.iter().all(|part| numbers(part) == (6000, 7, 6)));
            assert_eq!(parts.iter().flat_map(|part| &part.removed).count(), 1);
            assert_eq!(parts.iter().flat_map(|part| &part.released).count(), 1);
        }
    }
}

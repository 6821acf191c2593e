//! Clients of the two services that store dead letters, which have the same messages.

use mesh::Caller;
use proto::deadletter::v1::{
    GetDeadLetterRequest, GetDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse,
    PurgeDeadLettersRequest, PurgeDeadLettersResponse, RedriveDeadLettersRequest, RedriveDeadLettersResponse,
};
use tonic::Status;

use super::super::Rest;
use super::super::role::Role;

/// Defines calls to the service that stores the dead letters of a role, on behalf of the caller.
macro_rules! calls {
    ($($name:ident: $request:ty => $response:ty;)*) => {
        $(
            pub(super) async fn $name(
                rest: &Rest,
                role: Role,
                caller: &Caller,
                message: $request,
            ) -> Result<$response, Status> {
                let request = rest.request(caller, message);
                let reply = match role {
                    Role::Event => rest.channels.event_dead_letters().$name(request).await,
                    Role::Sink => rest.channels.sink_dead_letters().$name(request).await,
                };
                Ok(reply?.into_inner())
            }
        )*
    };
}

calls! {
    list_dead_letters: ListDeadLettersRequest => ListDeadLettersResponse;
    get_dead_letter: GetDeadLetterRequest => GetDeadLetterResponse;
    redrive_dead_letters: RedriveDeadLettersRequest => RedriveDeadLettersResponse;
    purge_dead_letters: PurgeDeadLettersRequest => PurgeDeadLettersResponse;
}

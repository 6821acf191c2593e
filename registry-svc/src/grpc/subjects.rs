//! `funless.registry.v1.Subjects` and `Authentication`.

use mesh::Caller;
use proto::registry::v1::authentication_server::Authentication;
use proto::registry::v1::subjects_server::Subjects;
use proto::registry::v1::{
    AuthenticateRequest, AuthenticateResponse, CreateSubjectRequest, CreateSubjectResponse,
    DeleteSubjectRequest, DeleteSubjectResponse, ListSubjectsRequest, ListSubjectsResponse,
};
use tonic::{Request, Response, Status};

use super::Handler;

#[tonic::async_trait]
impl Subjects for Handler {
    async fn create_subject(
        &self,
        request: Request<CreateSubjectRequest>,
    ) -> Result<Response<CreateSubjectResponse>, Status> {
        let caller = Caller::of(&request);
        let CreateSubjectRequest { name, role } = request.into_inner();
        let (subject, token) = self.registry.create_subject(&caller, &name, role).await?;
        let token = token.expose().to_owned();
        Ok(Response::new(CreateSubjectResponse { subject: Some(subject), token }))
    }

    async fn list_subjects(
        &self,
        request: Request<ListSubjectsRequest>,
    ) -> Result<Response<ListSubjectsResponse>, Status> {
        let subjects = self.registry.list_subjects(&Caller::of(&request)).await?;
        Ok(Response::new(ListSubjectsResponse { subjects }))
    }

    async fn delete_subject(
        &self,
        request: Request<DeleteSubjectRequest>,
    ) -> Result<Response<DeleteSubjectResponse>, Status> {
        let caller = Caller::of(&request);
        self.registry.delete_subject(&caller, &request.into_inner().name).await?;
        Ok(Response::new(DeleteSubjectResponse {}))
    }
}

#[tonic::async_trait]
impl Authentication for Handler {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<AuthenticateResponse>, Status> {
        let caller = Caller::of(&request);
        let subject = self.registry.authenticate(&caller, &request.into_inner().token).await?;
        Ok(Response::new(AuthenticateResponse { subject: Some(subject) }))
    }
}

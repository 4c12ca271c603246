//! Who asks, and what they may do.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::error::{ApiError, Code};
use super::state::App;

/// What a key is good for; each scope includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Search, identify, verify, represent, look at what is stored.
    Read,
    /// Enrol, delete a face, rename a person.
    Write,
    /// Delete a person.
    Admin,
}

impl Scope {
    /// Its name in keys and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Which collections a key is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Collections {
    /// Every one.
    All,
    /// Those that are named.
    Named(BTreeSet<String>),
}

/// Who asks. Every request has one as an extension.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The key's name.
    pub name: String,
    /// What the key is good for.
    pub scope: Scope,
    /// And where.
    pub collections: Collections,
}

impl Caller {
    /// Whoever reaches this machine's loopback, where no keys are set up.
    pub fn local() -> Self {
        Self {
            name: "local".to_owned(),
            scope: Scope::Admin,
            collections: Collections::All,
        }
    }

    /// Refuses what the caller may not do in a collection.
    pub fn may(&self, scope: Scope, collection: &str) -> Result<(), ApiError> {
        self.may_do(scope)?;
        if self.sees(collection) {
            return Ok(());
        }
        let message = format!("this key is not good for the collection {collection:?}");
        Err(ApiError::new(Code::Forbidden, message).with("collection", collection))
    }

    /// Refuses what the caller may not do anywhere.
    pub fn may_do(&self, scope: Scope) -> Result<(), ApiError> {
        if self.scope >= scope {
            return Ok(());
        }
        let (needed, has) = (scope.name(), self.scope.name());
        let message = format!("this needs a key with the scope {needed}; this one has {has}");
        Err(ApiError::new(Code::Forbidden, message).with("scope", needed))
    }

    /// Whether the collection is one of the caller's.
    pub fn sees(&self, collection: &str) -> bool {
        match &self.collections {
            Collections::All => true,
            Collections::Named(names) => names.contains(collection),
        }
    }
}

/// Finds out who asks.
pub async fn guard(State(_app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(Caller::local());
    next.run(request).await
}

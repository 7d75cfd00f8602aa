//! The error codes: part of the API. Codes are added, never renamed. `docs/errors.md` has a line for each.

/// What went wrong, as a word a caller can switch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Malformed call.
    InvalidRequest,
    /// The input fails the tool's schema.
    InvalidToolInput,
    /// The caller's own credential is missing, wrong or expired.
    Unauthenticated,
    /// The caller may not use this.
    PermissionDenied,
    /// No such provider.
    ProviderNotFound,
    /// No such connection.
    ConnectionNotFound,
    /// No such connected account.
    ConnectedAccountNotFound,
    /// No such tool.
    ToolNotFound,
    /// It exists already, or is under way.
    Conflict,
    /// The account is not active, or the provider refused its token: the user must connect again.
    ReauthorizationRequired,
    /// The token lacks a scope.
    InsufficientScope,
    /// The provider refused: not allowed.
    ProviderPermissionDenied,
    /// Not there, at the provider or here (a route, a caller).
    ResourceNotFound,
    /// The provider refused: malformed or invalid.
    ProviderInvalidRequest,
    /// The provider refused: conflict.
    ProviderConflict,
    /// Too many requests for now.
    RateLimitExceeded,
    /// A quota is used up.
    QuotaExceeded,
    /// The user's plan or an administrator does not allow it.
    FeatureRestricted,
    /// The provider failed.
    ProviderError,
    /// The provider is down or cannot be reached.
    ProviderUnavailable,
    /// The provider did not answer in time.
    ProviderTimeout,
    /// The operator must act: client id or secret refused, redirect URI not registered.
    ConnectionMisconfigured,
    /// Ours.
    Internal,
}

impl Code {
    /// Every code with its name on the wire and its HTTP status: the one table.
    pub const ALL: &[(Self, &str, u16)] = &[
        (Self::InvalidRequest, "INVALID_REQUEST", 400),
        (Self::InvalidToolInput, "INVALID_TOOL_INPUT", 400),
        (Self::Unauthenticated, "UNAUTHENTICATED", 401),
        (Self::PermissionDenied, "PERMISSION_DENIED", 403),
        (Self::ProviderNotFound, "PROVIDER_NOT_FOUND", 404),
        (Self::ConnectionNotFound, "CONNECTION_NOT_FOUND", 404),
        (Self::ConnectedAccountNotFound, "CONNECTED_ACCOUNT_NOT_FOUND", 404),
        (Self::ToolNotFound, "TOOL_NOT_FOUND", 404),
        (Self::Conflict, "CONFLICT", 409),
        (Self::ReauthorizationRequired, "REAUTHORIZATION_REQUIRED", 401),
        (Self::InsufficientScope, "INSUFFICIENT_SCOPE", 403),
        (Self::ProviderPermissionDenied, "PROVIDER_PERMISSION_DENIED", 403),
        (Self::ResourceNotFound, "RESOURCE_NOT_FOUND", 404),
        (Self::ProviderInvalidRequest, "PROVIDER_INVALID_REQUEST", 400),
        (Self::ProviderConflict, "PROVIDER_CONFLICT", 409),
        (Self::RateLimitExceeded, "RATE_LIMIT_EXCEEDED", 429),
        (Self::QuotaExceeded, "QUOTA_EXCEEDED", 429),
        (Self::FeatureRestricted, "FEATURE_RESTRICTED", 403),
        (Self::ProviderError, "PROVIDER_ERROR", 502),
        (Self::ProviderUnavailable, "PROVIDER_UNAVAILABLE", 503),
        (Self::ProviderTimeout, "PROVIDER_TIMEOUT", 504),
        (Self::ConnectionMisconfigured, "CONNECTION_MISCONFIGURED", 424),
        (Self::Internal, "INTERNAL", 500),
    ];

    fn row(self) -> (&'static str, u16) {
        let row = Self::ALL.iter().find(|(code, ..)| *code == self);
        row.map_or(("INTERNAL", 500), |(_, name, status)| (name, *status))
    }

    /// Its name on the wire.
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        self.row().1
    }

    /// The code of a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known, _)| *known == name).map(|(code, ..)| *code)
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::RateLimitExceeded
                | Self::QuotaExceeded
                | Self::ProviderError
                | Self::ProviderUnavailable
                | Self::ProviderTimeout
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_name_and_comes_back_from_it() {
        for (code, name, status) in Code::ALL {
            assert_eq!((code.name(), code.status()), (*name, *status));
            assert_eq!(Code::parse(name), Some(*code));
        }
    }
}

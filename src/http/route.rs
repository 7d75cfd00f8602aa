//! What a request is about: every route on one screen. A path is read once, and everything that depends on it asks the same
//! reading: who answers, how much of the body is read, whether it is handed on, what the log says.

/// Where a request goes.
pub(super) struct Place<'a> {
    /// Its path, undecoded, with the slash it begins with.
    pub(super) path: &'a str,
    /// Its query, undecoded, without the question mark.
    pub(super) query: &'a str,
    /// Where in the URL the path begins, in bytes.
    pub(super) at: usize,
    segments: Vec<&'a str>,
}

impl<'a> Place<'a> {
    /// Reads an absolute URL. One slash at the end of a path changes nothing, but below `/proxy/`, where all is the
    /// provider's; a segment that is empty otherwise is like any other that no route has.
    pub(super) fn of(url: &'a str) -> Self {
        let host = url.find("://").map_or(0, |at| at + 3);
        let at = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
        let (rest, _) = url[at..].split_once('#').unwrap_or((&url[at..], ""));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let inner = path.strip_prefix('/').unwrap_or(path);
        let whole = inner.starts_with("proxy/");
        let segments = inner.strip_suffix('/').filter(|_| !whole).unwrap_or(inner).split('/').collect();
        Self { path: if path.is_empty() { "/" } else { path }, query, at, segments }
    }

    /// The route; none where there is none.
    pub(super) fn route(&self, method: &str) -> Option<Route<'a>> {
        find(method, &self.segments)
    }

    /// Whether all below it is the provider's.
    pub(super) fn is_proxied(&self) -> bool {
        matches!(self.segments.as_slice(), ["proxy", _, ..])
    }

    /// Whether it begins with this segment.
    pub(super) fn is_below(&self, first: &str) -> bool {
        self.segments.first() == Some(&first)
    }

    /// Whether people look at it.
    pub(super) fn is_page(&self) -> bool {
        ["connect", "callback", "choose"].into_iter().any(|first| self.is_below(first))
    }
}

/// Whether the body of a request to this URL is handed on as a stream instead of being read.
pub fn streams(url: &str) -> bool {
    Place::of(url).is_proxied()
}

/// What a request is about, for the log: the pattern of its route, never the path itself, which may hold a ticket or
/// whatever was pasted there.
pub fn pattern(method: &str, url: &str) -> &'static str {
    let method = if method == "HEAD" { "GET" } else { method };
    Place::of(url).route(method).map_or("none", |route| route.pattern())
}

/// What a request is about: every route there is.
pub(super) enum Route<'a> {
    Home,
    Icon,
    Health,
    Token,
    OpenLink(&'a str),
    StartConsent(&'a str),
    Callback(&'a str),
    OpenChoice(&'a str),
    Choose(&'a str),
    Connected(&'a str),
    ListCallers,
    CreateCaller,
    DeleteCaller(&'a str),
    ListConnections,
    CreateConnection,
    GetConnection(&'a str),
    UpdateConnection(&'a str),
    DeleteConnection(&'a str),
    Reseal,
    ResealProgress,
    ListAccounts,
    CreateAccount,
    AccountDetails,
    AccountAuth,
    MagicLink,
    VerifyUser,
    RefreshAccount,
    DeleteAccount,
    ListProviders,
    ListTools,
    ExecuteTool,
    Proxy,
    #[cfg(feature = "fault-injection")]
    Panic,
}

impl Route<'_> {
    fn pattern(&self) -> &'static str {
        match self {
            Self::Home => "/",
            Self::Icon => "/favicon.svg",
            Self::Health => "/health",
            Self::Token => "/oauth/token",
            Self::OpenLink(_) | Self::StartConsent(_) => "/connect/{token}",
            Self::Callback(_) => "/callback/{connection_name}",
            Self::OpenChoice(_) | Self::Choose(_) => "/choose/{ticket}",
            Self::Connected(_) => "/connected/{connector}",
            Self::ListCallers | Self::CreateCaller => "/api/v1/callers",
            Self::DeleteCaller(_) => "/api/v1/callers/{client_id}",
            Self::ListConnections | Self::CreateConnection => "/api/v1/connections",
            Self::GetConnection(_) | Self::UpdateConnection(_) | Self::DeleteConnection(_) => {
                "/api/v1/connections/{name}"
            }
            Self::Reseal | Self::ResealProgress => "/api/v1/keys:reseal",
            Self::ListAccounts | Self::CreateAccount => "/api/v1/connected_accounts",
            Self::AccountDetails => "/api/v1/connected_accounts/details",
            Self::AccountAuth => "/api/v1/connected_accounts/auth",
            Self::MagicLink => "/api/v1/connected_accounts/magic_link",
            Self::VerifyUser => "/api/v1/connected_accounts/user/verify",
            Self::RefreshAccount => "/api/v1/connected_accounts/refresh",
            Self::DeleteAccount => "/api/v1/connected_accounts:delete",
            Self::ListProviders => "/api/v1/providers",
            Self::ListTools => "/api/v1/tools",
            Self::ExecuteTool => "/api/v1/execute_tool",
            Self::Proxy => "/proxy/{path}",
            #[cfg(feature = "fault-injection")]
            Self::Panic => "/__fault/panic",
        }
    }
}

fn find<'a>(method: &str, segments: &[&'a str]) -> Option<Route<'a>> {
    Some(match (method, segments) {
        ("GET", [""]) => Route::Home,
        ("GET", ["favicon.svg"]) => Route::Icon,
        ("GET", ["health"]) => Route::Health,
        ("POST", ["oauth", "token"]) => Route::Token,

        ("GET", ["connect", ticket]) => Route::OpenLink(ticket),
        ("POST", ["connect", ticket]) => Route::StartConsent(ticket),
        ("GET", ["callback", connection]) => Route::Callback(connection),
        ("GET", ["choose", ticket]) => Route::OpenChoice(ticket),
        ("POST", ["choose", ticket]) => Route::Choose(ticket),
        ("GET", ["connected", connector]) => Route::Connected(connector),

        ("GET", ["api", "v1", "callers"]) => Route::ListCallers,
        ("POST", ["api", "v1", "callers"]) => Route::CreateCaller,
        ("DELETE", ["api", "v1", "callers", id]) => Route::DeleteCaller(id),

        ("GET", ["api", "v1", "connections"]) => Route::ListConnections,
        ("POST", ["api", "v1", "connections"]) => Route::CreateConnection,
        ("GET", ["api", "v1", "connections", name]) => Route::GetConnection(name),
        ("PATCH", ["api", "v1", "connections", name]) => Route::UpdateConnection(name),
        ("DELETE", ["api", "v1", "connections", name]) => Route::DeleteConnection(name),

        ("POST", ["api", "v1", "keys:reseal"]) => Route::Reseal,
        ("GET", ["api", "v1", "keys:reseal"]) => Route::ResealProgress,

        ("GET", ["api", "v1", "connected_accounts"]) => Route::ListAccounts,
        ("POST", ["api", "v1", "connected_accounts"]) => Route::CreateAccount,
        ("GET", ["api", "v1", "connected_accounts", "details"]) => Route::AccountDetails,
        ("GET", ["api", "v1", "connected_accounts", "auth"]) => Route::AccountAuth,
        ("POST", ["api", "v1", "connected_accounts", "magic_link"]) => Route::MagicLink,
        ("POST", ["api", "v1", "connected_accounts", "user", "verify"]) => Route::VerifyUser,
        ("POST", ["api", "v1", "connected_accounts", "refresh"]) => Route::RefreshAccount,
        ("POST", ["api", "v1", "connected_accounts:delete"]) => Route::DeleteAccount,

        ("GET", ["api", "v1", "providers"]) => Route::ListProviders,
        ("GET", ["api", "v1", "tools"]) => Route::ListTools,
        ("POST", ["api", "v1", "execute_tool"]) => Route::ExecuteTool,
        (_, ["proxy", _, ..]) => Route::Proxy,

        #[cfg(feature = "fault-injection")]
        ("GET", ["__fault", "panic"]) => Route::Panic,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn the_log_knows_a_route_by_its_pattern() {
        let pattern = |method, path: &str| super::pattern(method, &format!("https://x.example{path}"));
        assert_eq!(pattern("GET", "/connect/TICKET"), "/connect/{token}");
        assert_eq!(pattern("POST", "/choose/TICKET?x"), "/choose/{ticket}");
        assert_eq!(pattern("HEAD", "/callback/c?code=CODE&state=STATE"), "/callback/{connection_name}");
        assert_eq!(pattern("DELETE", "/api/v1/callers/vks_SECRET"), "/api/v1/callers/{client_id}");
        assert_eq!(pattern("GET", "/proxy/users/SECRET"), "/proxy/{path}");
        assert_eq!(pattern("GET", "/connect/TICKET/"), "/connect/{token}");
        for path in [
            "/connect//TICKET",
            "//connect/TICKET",
            "/connect/TICKET//",
            "/TICKET",
            "/api/v1/TICKET",
            "/connect/a/TICKET",
        ] {
            assert_eq!(pattern("GET", path), "none", "{path}");
        }
    }

    #[test]
    fn urls_are_split_undecoded() {
        let parts = |url| {
            let Place { path, query, at, .. } = Place::of(url);
            (path, query, at)
        };
        assert_eq!(parts("https://x.example/a%2Fb?c=d?e"), ("/a%2Fb", "c=d?e", 17));
        assert_eq!(parts("https://x.example"), ("/", "", 17));
        assert_eq!(parts("https://x.example?c=/d"), ("/", "c=/d", 17));
        assert_eq!(parts("http://x.example/proxy/https://y.example/z#e"), ("/proxy/https://y.example/z", "", 16));
    }

    #[test]
    fn all_that_is_asked_of_a_path_is_asked_of_the_same() {
        let is = |path: &str| {
            let url = format!("https://x.example{path}");
            let place = Place::of(&url);
            (place.is_proxied(), place.is_below("callback"), place.route("GET").map(|route| route.pattern()))
        };
        assert_eq!(is("/proxy/users//1"), (true, false, Some("/proxy/{path}")));
        assert_eq!(is("/proxy/"), (true, false, Some("/proxy/{path}")));
        assert_eq!(is("/callback/x"), (false, true, Some("/callback/{connection_name}")));
        for path in
            ["//proxy/users/1", "///proxy/x", "/proxy", "/proxy?x", "//callback/x", "//oauth/token", "/./proxy/x"]
        {
            assert_eq!(is(path), (false, false, None), "{path}");
        }
    }
}

//! Routes and who may use them: a route without a rule cannot be made.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::MethodRouter;

use super::guard::{self, Guard};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Everybody; credentials are not looked at.
    Open,
    /// Whoever has credentials.
    Known,
    /// Who may read this database.
    Reads(&'static str),
    /// Who may write this database.
    Writes(&'static str),
    /// Administrators.
    Admin,
    /// Whoever has credentials or is [nobody](crate::auth::Caller::Nobody): the handler asks its
    /// [`Caller`](crate::auth::Caller) for what each request needs.
    Asks,
}

type Outside = Arc<dyn Fn(MethodRouter) -> MethodRouter + Send + Sync>;

struct Route<S> {
    path: String,
    rule: Rule,
    methods: MethodRouter<S>,
    outside: Option<Outside>,
}

/// Routes on their way to a router, which only [`guarded`](Routes::guarded) makes.
pub struct Routes<S = ()> {
    routes: Vec<Route<S>>,
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// None yet.
    pub fn new() -> Self {
        Self { routes: Vec::new() }
    }

    /// Adds a route. `OPTIONS` is answered for it, and never reaches `methods`.
    pub fn route(mut self, path: impl Into<String>, rule: Rule, methods: MethodRouter<S>) -> Self {
        self.routes.push(Route { path: path.into(), rule, methods, outside: None });
        self
    }

    /// Gives the handlers what they work on.
    pub fn with_state(self, state: S) -> Routes {
        let with_state = |route: Route<S>| Route {
            path: route.path,
            rule: route.rule,
            methods: route.methods.with_state(state.clone()),
            outside: route.outside,
        };
        Routes { routes: self.routes.into_iter().map(with_state).collect() }
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl Routes {
    /// Puts something around these routes that also sees what the guard refuses.
    pub fn outside(mut self, layer: impl Fn(MethodRouter) -> MethodRouter + Send + Sync + 'static) -> Self {
        let layer: Outside = Arc::new(layer);
        self.routes.iter_mut().for_each(|route| route.outside = Some(layer.clone()));
        self
    }

    /// These and those.
    pub fn merge(mut self, more: Routes) -> Self {
        self.routes.extend(more.routes);
        self
    }

    /// Each path with its rule.
    pub fn rules(&self) -> Vec<(String, Rule)> {
        self.routes.iter().map(|route| (route.path.clone(), route.rule)).collect()
    }

    /// The router, with `guard` before each handler.
    pub fn guarded(self, guard: &Arc<Guard>) -> Router {
        self.routes.into_iter().fold(Router::new(), |router, route| {
            let state = (guard.clone(), route.rule);
            let methods = route.methods.layer(middleware::from_fn_with_state(state, guard::check));
            let methods = match &route.outside {
                Some(outside) => outside(methods),
                None => methods,
            };
            router.route(&route.path, methods)
        })
    }
}

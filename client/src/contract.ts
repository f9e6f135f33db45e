// Made from openapi.json by `npm run build:client`. Not to be changed by hand.

export interface paths {
    "/v1/check": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** May this payer have this? */
        get: operations["check"];
        put?: never;
        /** The same for up to 100 questions at once */
        post: operations["checkMany"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/entitlements": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Everything the payer holds */
        get: operations["entitlements"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/sync": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Re-read the payer's subscriptions from the provider's API, now
         * @description For the return from checkout, which may come before the webhook. A payer is asked about at most every two seconds. Every provider whose API key is set is asked; if one of them fails, what the others said is stored and the answer is 503.
         */
        post: operations["sync"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /**
         * @example pro
         * @example org:team
         */
        Name: string;
        /** @example user_2abc */
        PayerId: string;
        CheckOne: {
            plan?: components["schemas"]["Name"];
            feature?: components["schemas"]["Name"];
            user_id?: components["schemas"]["PayerId"];
            org_id?: components["schemas"]["PayerId"];
        };
        CheckList: {
            checks: {
                plan?: components["schemas"]["Name"];
                feature?: components["schemas"]["Name"];
            }[];
            user_id?: components["schemas"]["PayerId"];
            org_id?: components["schemas"]["PayerId"];
        };
        /**
         * @description Closed list.
         * @enum {string}
         */
        Reason: "active" | "trialing" | "canceled_until_period_end" | "past_due_grace" | "granted_manually" | "expired" | "past_due" | "paused" | "unpaid" | "incomplete" | "not_started" | "unknown_status" | "no_subscription" | "plan_mismatch" | "feature_not_in_plan" | "unknown_plan" | "unknown_feature" | "payer_deleted" | "quota_exceeded";
        Payer: {
            /** @enum {unknown} */
            type: "user" | "org";
            id: string;
        };
        /**
         * @description active, trialing, past_due, paused, unpaid, incomplete, canceled, ended, upcoming, or a provider's own text that is not known yet.
         * @example active
         */
        Status: string;
        /**
         * @description `ledger` only where a past time is explained.
         * @enum {unknown}
         */
        Source: "memory" | "kv" | "d1" | "ledger";
        CheckAnswer: {
            allowed: boolean;
            reason: components["schemas"]["Reason"];
            /** @description The plan held now: the one that grants, or the free one. Null for a deleted payer. */
            plan: string | null;
            /** @description Of the subscription that decided. */
            status: components["schemas"]["Status"] | null;
            /** @description Who decided. */
            payer: components["schemas"]["Payer"] | null;
            /**
             * Format: date-time
             * @description Until when a yes holds if nothing happens; null is without end, and for a no.
             */
            valid_until: string | null;
            /**
             * Format: date-time
             * @description When the facts were read from the database.
             */
            as_of: string | null;
            source: components["schemas"]["Source"];
            /** @description Grows with every event about the payer; 0 when there was none. */
            version: number;
        };
        CheckAnswers: {
            results: components["schemas"]["CheckAnswer"][];
        };
        Subscription: {
            provider?: string;
            id?: string;
            subscription_id?: string | null;
            customer_id?: string | null;
            plan?: string | null;
            status?: components["schemas"]["Status"];
            allowed?: boolean;
            reason?: components["schemas"]["Reason"];
            /** Format: date-time */
            valid_until?: string | null;
            /** Format: date-time */
            started_at?: string | null;
            /** Format: date-time */
            period_start?: string | null;
            /** Format: date-time */
            period_end?: string | null;
            interval?: string | null;
            /** Format: date-time */
            cancel_at?: string | null;
            /** Format: date-time */
            canceled_at?: string | null;
            /** Format: date-time */
            ended_at?: string | null;
            /** Format: date-time */
            past_due_since?: string | null;
            seats?: {
                /** @description Null is unlimited. */
                quantity: number | null;
            } | null;
        };
        Entitlements: {
            plan: string | null;
            status: components["schemas"]["Status"] | null;
            /** Format: date-time */
            valid_until: string | null;
            /** Format: date-time */
            cancel_at: string | null;
            plans: string[];
            features: string[];
            limits: {
                [key: string]: number | null;
            };
            trial: {
                active: boolean;
                /** Format: date-time */
                ends_at: string | null;
                /** @description Whether one was ever used. */
                used: boolean;
            };
            payers: {
                payer?: components["schemas"]["Payer"];
                plan?: string | null;
                status?: components["schemas"]["Status"] | null;
                deleted?: boolean;
                failed_attempts?: number;
                /** Format: date-time */
                last_failure_at?: string | null;
                last_failure_code?: string | null;
                subscriptions?: components["schemas"]["Subscription"][];
            }[];
            /** Format: date-time */
            as_of: string | null;
            source: components["schemas"]["Source"];
            version: number;
        };
        /** @description RFC 9457 */
        Problem: {
            /** Format: uri */
            type: string;
            title: string;
            status: number;
            code: string;
            detail: string;
            request_id: string;
            /** @description Of `not_entitled`. */
            reason?: components["schemas"]["Reason"];
            /** @description Of `not_entitled`: where to buy, by UPGRADE_URL or the rule. */
            upgrade_url?: string;
        };
    };
    responses: {
        /** @description `rate_limited`: the binding RATE_LIMITER says so */
        RateLimited: {
            headers: {
                /** @description In seconds. */
                "retry-after"?: number;
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `method_not_allowed` */
        MethodNotAllowed: {
            headers: {
                allow?: string;
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description The caller is not verified; the code says why */
        NotVerified: {
            headers: {
                "www-authenticate"?: string;
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `invalid_admin_token` */
        NotTheOperator: {
            headers: {
                "www-authenticate"?: string;
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
    };
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    check: {
        parameters: {
            query?: {
                /** @description A plan that must be held; `user:` (`u:`) or `org:` (`o:`, `organization:`) in front asks one kind of payer only. May be given several times: all must hold. Without any condition: any paid plan. */
                plan?: components["schemas"]["Name"][];
                /** @description A feature that must be held, written like a plan. */
                feature?: components["schemas"]["Name"][];
                /** @description Server keys only: the user to ask about. */
                user_id?: components["schemas"]["PayerId"];
                /** @description Server keys only: the organization to ask about. */
                org_id?: components["schemas"]["PayerId"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Yes or no; a no is 200 too */
            200: {
                headers: {
                    /** @description The id of this request in the logs. */
                    "x-request-id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CheckAnswer"];
                };
            };
            /** @description `invalid_request`: the question cannot be answered */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            401: components["responses"]["NotVerified"];
            405: components["responses"]["MethodNotAllowed"];
            429: components["responses"]["RateLimited"];
            /** @description `store_unavailable`, `auth_not_configured`, `jwks_unavailable` or `catalog_unusable`; never an `allowed: true` */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    checkMany: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/json": components["schemas"]["CheckList"] | components["schemas"]["CheckOne"];
            };
        };
        responses: {
            /** @description One answer, or a list in the order of the questions */
            200: {
                headers: {
                    /** @description The id of this request in the logs. */
                    "x-request-id"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["CheckAnswer"] | components["schemas"]["CheckAnswers"];
                };
            };
            /** @description `invalid_request`: the question cannot be answered */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            401: components["responses"]["NotVerified"];
            405: components["responses"]["MethodNotAllowed"];
            /** @description `payload_too_large`: more than 64 KiB */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            429: components["responses"]["RateLimited"];
            /** @description `store_unavailable`, `auth_not_configured`, `jwks_unavailable` or `catalog_unusable`; never an `allowed: true` */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    entitlements: {
        parameters: {
            query?: {
                /** @description Server keys only: the user to ask about. */
                user_id?: components["schemas"]["PayerId"];
                /** @description Server keys only: the organization to ask about. */
                org_id?: components["schemas"]["PayerId"];
            };
            header?: {
                "if-none-match"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description OK */
            200: {
                headers: {
                    /** @description The id of this request in the logs. */
                    "x-request-id"?: string;
                    /** @description Changes with what is held, not with when it was read. */
                    etag?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["Entitlements"];
                };
            };
            /** @description Nothing has changed */
            304: {
                headers: {
                    /** @description Changes with what is held, not with when it was read. */
                    etag?: string;
                    [name: string]: unknown;
                };
                content?: never;
            };
            /** @description `invalid_request`: the question cannot be answered */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            401: components["responses"]["NotVerified"];
            405: components["responses"]["MethodNotAllowed"];
            429: components["responses"]["RateLimited"];
            /** @description `store_unavailable`, `auth_not_configured`, `jwks_unavailable` or `catalog_unusable`; never an `allowed: true` */
            503: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
    sync: {
        parameters: {
            query?: {
                /** @description Server keys only: the user to ask about. */
                user_id?: components["schemas"]["PayerId"];
                /** @description Server keys only: the organization to ask about. */
                org_id?: components["schemas"]["PayerId"];
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** @description Instead of the query. */
        requestBody?: {
            content: {
                "application/json": {
                    user_id?: components["schemas"]["PayerId"];
                    org_id?: components["schemas"]["PayerId"];
                };
            };
        };
        responses: {
            /** @description What came of it, and what is held now */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        synced: {
                            payer: components["schemas"]["Payer"];
                            /**
                             * @description `unknown`: no provider shows anything of the payer, or nothing has told yet which customer there the payer is.
                             * @enum {unknown}
                             */
                            outcome: "changed" | "unchanged" | "unknown" | "recently_read";
                        }[];
                        entitlements: components["schemas"]["Entitlements"];
                    };
                };
            };
            /** @description `invalid_request`: it names no payer, or asks a question */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            401: components["responses"]["NotVerified"];
            405: components["responses"]["MethodNotAllowed"];
            /** @description `payload_too_large` */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
            429: components["responses"]["RateLimited"];
            /** @description `provider_unavailable`, `sync_not_configured`, `store_unavailable`, `auth_not_configured`, `jwks_unavailable` or `catalog_unusable` */
            503: {
                headers: {
                    /** @description In seconds. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"];
                };
            };
        };
    };
}

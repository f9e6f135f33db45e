//! Users, organizations, sessions and the rest of what Clerk tells of. The worker uses deletions and lets the others
//! be; they can be sent to see that it does.

use plangate::time::DAY_MS;
use serde_json::{Value, json};

use super::{CREATED_AT, Scene};
use crate::ids;

const EMAIL: &str = "ada@example.test";
const IMAGE: &str = "https://img.example.test/a.png";
const WEEK_MS: i64 = 7 * DAY_MS;

pub(super) fn user(scene: &Scene<'_>) -> Value {
    let email_id = ids::stable("idn_", &[scene.user]);
    json!({
        "object": "user",
        "id": scene.user,
        "external_id": null,
        "primary_email_address_id": email_id,
        "primary_phone_number_id": null,
        "primary_web3_wallet_id": null,
        "username": null,
        "first_name": "Ada",
        "last_name": "Example",
        "profile_image_url": IMAGE,
        "image_url": IMAGE,
        "has_image": true,
        "public_metadata": {},
        "private_metadata": null,
        "unsafe_metadata": {},
        "email_addresses": [{
            "object": "email_address",
            "id": email_id,
            "email_address": EMAIL,
            "reserved": false,
            "verification": {"status": "verified", "strategy": "email_code", "attempts": 1, "expire_at": scene.at()},
            "linked_to": [],
            "created_at": scene.created_at(),
            "updated_at": scene.created_at(),
        }],
        "phone_numbers": [],
        "web3_wallets": [],
        "passkeys": [],
        "external_accounts": [],
        "saml_accounts": [],
        "enterprise_accounts": [],
        "organization_memberships": null,
        "password_enabled": true,
        "password_last_updated_at": null,
        "two_factor_enabled": false,
        "totp_enabled": false,
        "backup_code_enabled": false,
        "mfa_enabled_at": null,
        "mfa_disabled_at": null,
        "banned": false,
        "locked": false,
        "lockout_expires_in_seconds": null,
        "verification_attempts_remaining": null,
        "create_organization_enabled": true,
        "create_organizations_limit": null,
        "delete_self_enabled": true,
        "legal_accepted_at": null,
        "locale": null,
        "last_sign_in_at": scene.at(),
        "last_active_at": scene.at(),
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
    })
}

/// What is left of anything that was deleted.
pub(super) fn deleted(scene: &Scene<'_>) -> Value {
    let object = scene.event_type.split('.').next().unwrap_or_default();
    match object {
        "user" => json!({"object": "user", "id": scene.user, "deleted": true, "external_id": null}),
        "organization" => json!({"object": "organization", "id": scene.org, "slug": "example-ltd", "deleted": true}),
        "organizationDomain" => {
            json!({"object": "organization_domain", "id": domain_id(scene), "deleted": true})
        }
        "role" => json!({"object": "role", "id": ids::stable("role_", &[]), "deleted": true}),
        _ => json!({"object": "permission", "id": ids::stable("perm_", &[]), "deleted": true}),
    }
}

pub(super) fn session(scene: &Scene<'_>) -> Value {
    let status = match scene.event_type {
        "session.created" => "active",
        other => other.strip_prefix("session.").unwrap_or(other),
    };
    json!({
        "object": "session",
        "id": ids::stable("sess_", &[scene.user]),
        "user_id": scene.user,
        "client_id": ids::stable("client_", &[scene.user]),
        "actor": null,
        "status": status,
        "last_active_organization_id": scene.wish.org,
        "last_active_at": scene.at(),
        "latest_activity": {
            "object": "session_activity",
            "id": ids::stable("sess_activity_", &[scene.user]),
            "device_type": "Linux",
            "is_mobile": false,
            "browser_name": "Firefox",
            "browser_version": "140.0",
            "ip_address": "203.0.113.9",
            "city": "Exampleton",
            "country": "XX",
        },
        "expire_at": scene.after(WEEK_MS),
        "abandon_at": scene.after(4 * WEEK_MS),
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
        "user": user(scene),
    })
}

pub(super) fn organization(scene: &Scene<'_>) -> Value {
    json!({
        "object": "organization",
        "id": scene.org,
        "name": "Example Ltd",
        "slug": "example-ltd",
        "image_url": IMAGE,
        "has_image": true,
        "members_count": 1,
        "missing_member_with_elevated_permissions": false,
        "pending_invitations_count": 0,
        "max_allowed_memberships": 5,
        "admin_delete_enabled": true,
        "public_metadata": {},
        "private_metadata": {},
        "created_by": scene.user,
        "role_set_key": "role_set:default",
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
    })
}

pub(super) fn membership(scene: &Scene<'_>) -> Value {
    let organization = json!({
        "object": "organization",
        "id": scene.org,
        "name": "Example Ltd",
        "slug": "example-ltd",
        "image_url": IMAGE,
        "has_image": true,
        "members_count": 1,
        "max_allowed_memberships": 5,
        "admin_delete_enabled": true,
        "public_metadata": {},
        "private_metadata": {},
        "created_by": scene.user,
        "created_at": scene.at().min(CREATED_AT),
        "updated_at": scene.at().min(CREATED_AT),
    });
    json!({
        "object": "organization_membership",
        "id": ids::stable("orgmem_", &[scene.org, scene.user]),
        "role": "org:admin",
        "role_name": "Admin",
        "permissions": ["org:sys_billing:manage", "org:sys_memberships:manage"],
        "public_metadata": {},
        "private_metadata": {},
        "organization": organization,
        "public_user_data": {
            "user_id": scene.user,
            "first_name": "Ada",
            "last_name": "Example",
            "profile_image_url": IMAGE,
            "image_url": IMAGE,
            "has_image": true,
            "identifier": EMAIL,
            "username": null,
        },
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
    })
}

pub(super) fn domain(scene: &Scene<'_>) -> Value {
    let is_verified = scene.event_type == "organizationDomain.updated";
    json!({
        "object": "organization_domain",
        "id": domain_id(scene),
        "organization_id": scene.org,
        "name": "example.test",
        "enrollment_mode": "automatic_invitation",
        "affiliation_email_address": "admin@example.test",
        "verification": is_verified.then(|| {
            json!({"status": "verified", "strategy": "affiliation_email_code", "attempts": 1, "expire_at": null})
        }),
        "total_pending_invitations": 0,
        "total_pending_suggestions": 0,
        "public_organization_data": public_organization(scene),
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
    })
}

pub(super) fn invitation(scene: &Scene<'_>) -> Value {
    let status = match scene.event_type {
        "organizationInvitation.accepted" => "accepted",
        "organizationInvitation.revoked" => "revoked",
        _ => "pending",
    };
    let mut invitation = json!({
        "object": "organization_invitation",
        "id": ids::stable("orginv_", &[scene.org, EMAIL]),
        "email_address": EMAIL,
        "role": "org:member",
        "role_name": "Member",
        "organization_id": scene.org,
        "public_organization_data": public_organization(scene),
        "inviter_id": null,
        "status": status,
        "public_metadata": {},
        "private_metadata": {},
        "url": null,
        "expires_at": scene.after(WEEK_MS),
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
    });
    if let (Some(fields), "accepted") = (invitation.as_object_mut(), status) {
        fields.insert("user_id".to_owned(), json!(scene.user));
    }
    invitation
}

pub(super) fn role(scene: &Scene<'_>) -> Value {
    json!({
        "object": "role",
        "id": ids::stable("role_", &[]),
        "name": "Editor",
        "key": "org:editor",
        "description": "Invented for a test",
        "is_creator_eligible": false,
        "permissions": [permission(scene)],
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
    })
}

pub(super) fn permission(scene: &Scene<'_>) -> Value {
    json!({
        "object": "permission",
        "id": ids::stable("perm_", &[]),
        "name": "Write reports",
        "key": "org:reports:write",
        "description": "Invented for a test",
        "type": "user",
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
    })
}

pub(super) fn email(scene: &Scene<'_>) -> Value {
    json!({
        "object": "email",
        "id": ids::stable("ema_", &[scene.user]),
        "slug": "invitation",
        "from_email_name": "notifications",
        "reply_to_email_name": null,
        "to_email_address": EMAIL,
        "email_address_id": ids::stable("idn_", &[scene.user]),
        "user_id": scene.user,
        "subject": "An invented subject",
        "body": "<p>An invented body</p>",
        "body_plain": "An invented body",
        "status": "queued",
        "data": {"app": {"name": "Example"}},
        "delivered_by_clerk": true,
    })
}

pub(super) fn sms(scene: &Scene<'_>) -> Value {
    json!({
        "object": "sms_message",
        "id": ids::stable("sms_", &[scene.user]),
        "slug": "invitation",
        "from_phone_number": "+15555550100",
        "to_phone_number": "+15555550101",
        "phone_number_id": ids::stable("idn_phone_", &[scene.user]),
        "user_id": scene.user,
        "message": "An invented message",
        "status": "queued",
        "data": {"app": {"name": "Example"}},
        "delivered_by_clerk": true,
    })
}

pub(super) fn waitlist_entry(scene: &Scene<'_>) -> Value {
    let is_invited = scene.event_type == "waitlistEntry.updated";
    json!({
        "object": "waitlist_entry",
        "id": ids::stable("wle_", &[EMAIL]),
        "email_address": EMAIL,
        "status": if is_invited { "invited" } else { "pending" },
        "is_locked": false,
        "invitation": is_invited.then(|| json!({
            "object": "invitation",
            "id": ids::stable("inv_", &[EMAIL]),
            "email_address": EMAIL,
            "public_metadata": {},
            "revoked": false,
            "status": "pending",
            "created_at": scene.at(),
            "updated_at": scene.at(),
        })),
        "created_at": scene.created_at(),
        "updated_at": scene.at(),
    })
}

fn public_organization(scene: &Scene<'_>) -> Value {
    json!({
        "id": scene.org,
        "name": "Example Ltd",
        "slug": "example-ltd",
        "image_url": IMAGE,
        "has_image": true,
    })
}

fn domain_id(scene: &Scene<'_>) -> String {
    ids::stable("orgdmn_", &[scene.org])
}

// What Clerk's two scripts put on the page.
import type { BrowserClerk, ClerkUIConstructor } from "@clerk/shared/types";

declare global {
  interface Window {
    Clerk: BrowserClerk;
    __internal_ClerkUICtor: ClerkUIConstructor;
  }
}

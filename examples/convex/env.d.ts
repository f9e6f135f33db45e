// Convex gives environment variables in this way, in its default runtime too.
declare const process: { readonly env: Readonly<Record<string, string | undefined>> };

// Written by `make sdks` from the OpenAPI document of the server. Do not edit.
export {};

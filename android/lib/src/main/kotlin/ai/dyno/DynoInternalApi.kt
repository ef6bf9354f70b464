package ai.dyno

/** What the Android module needs of this one. Not for apps: it may change in any release. */
@RequiresOptIn("This is for the Android module of DynO; it may change in any release.")
@Retention(AnnotationRetention.BINARY)
@Target(AnnotationTarget.FUNCTION, AnnotationTarget.CLASS, AnnotationTarget.PROPERTY)
public annotation class DynoInternalApi
